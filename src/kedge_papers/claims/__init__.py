"""The claims that the experiments are to decide, a file each, committed before the first record that decides it."""
