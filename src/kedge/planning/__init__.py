"""What a run will take, computed before any weights are loaded: memory, time, disk and downloads."""
