"""The families of few-step models, one file of mathematics each."""
