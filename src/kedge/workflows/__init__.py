"""What the commands do, one file a task: load a run, evaluate, compare, study, run a matrix. Python calls the same."""
