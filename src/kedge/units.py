"""Sizes in bytes: as disks, downloads and torch's messages have them (MB, GB), and as memory is sold (GiB)."""

MB = 10**6
GB = 10**9
GIB = 2**30
