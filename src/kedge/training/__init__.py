"""One training: the loop, what it is put together from, what watches it, and what it leaves."""
