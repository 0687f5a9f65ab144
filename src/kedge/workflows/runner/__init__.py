"""The one runner of many trainings: a matrix of runs, resumable, shared by several processes."""
