"""What a run will take, told before any weights are loaded: memory, time, disk and downloads."""
