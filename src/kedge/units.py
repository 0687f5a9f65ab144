"""Sizes in bytes, as disks (MB, GB) and memory (GiB) are sold; durations in words; numbers as people type them."""

import math

MB = 10**6
GB = 10**9
GIB = 2**30

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365.25 * 86400  # in seconds


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``2 h 9 min``, ``1 d 8 h``, ``2.4 years``."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * MINUTE:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return _two(seconds, HOUR, its_name="h", small=MINUTE, small_name="min")
    if seconds < YEAR:
        return _two(seconds, DAY, its_name="d", small=HOUR, small_name="h")
    return f"{seconds / YEAR:.1f} years"


def _two(seconds: float, large: int, its_name: str, small: int, small_name: str) -> str:
    """In two units, the smaller one whole and left out where it is 0."""
    whole, rest = divmod(round(seconds / small), large // small)
    return f"{whole} {its_name} {rest} {small_name}" if rest else f"{whole} {its_name}"


def finite(text: object) -> float:
    """The number that was typed, or stands in a file.

    Raises:
        ValueError: for anything else, infinity and NaN included.
    """
    number = float(str(text))
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number
