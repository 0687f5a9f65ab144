"""A run on the disk: its folder and who has it, its checkpoints, its history, and what may change when it goes on."""
