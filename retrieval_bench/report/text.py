"""How numbers are written in tables and labels."""

from __future__ import annotations

from math import floor, isfinite, log10, nan

BLANK = "–"
UNITS = ("B", "kB", "MB", "GB", "TB")


def decimals(value: float, digits: int) -> int:
    """Digits after the point that give `value` this many significant digits.

    >>> decimals(0.0123, 3), decimals(12.3, 3), decimals(1234.0, 3)
    (4, 1, 0)
    """
    return digits if value == 0 or not isfinite(value) else max(0, digits - 1 - floor(log10(abs(value))))


def with_interval(value: float, low: float, high: float, places: int) -> str:
    """A value and its interval; a dash where there is no value.

    ± is the larger side. Both sides are given where, as they are printed, one is more than twice the other and they
    differ by more than the last digit.

    >>> with_interval(0.9124, 0.9080, 0.9150, 3), with_interval(0.5, float("nan"), float("nan"), 3)
    ('0.912 ±.004', '0.500')
    >>> with_interval(0.29, 0.28, 0.38, 2), with_interval(0.998, 0.996, 0.999, 3)
    ('0.29 −.01/+.09', '0.998 ±.002')
    """
    if not isfinite(value):
        return BLANK
    text = f"{value:.{places}f}".replace("-", "−")
    if not (isfinite(low) and isfinite(high)):
        return text
    below, above = (round(max(side, 0.0), places) for side in (value - low, high - value))
    larger, smaller = max(below, above), min(below, above)
    if larger > 2 * smaller and larger - smaller > 1.5 * 10.0**-places:
        return f"{text} −{_side(below, places)}/+{_side(above, places)}"
    return f"{text} ±{_side(larger, places)}"


def _side(length: float, places: int) -> str:
    """One side of an interval, without the zero before the point."""
    written = f"{length:.{places}f}"
    return written.removeprefix("0") if "." in written else written


def quality(value: float, low: float = nan, high: float = nan) -> str:
    """A metric in [0, 1], or a difference of two, with three digits after the point.

    >>> quality(-0.0001, -0.0004, 0.0002)
    '0.000 ±.000'
    """
    return with_interval(0.0 if abs(value) < 0.0005 else value, low, high, 3)


def milliseconds(value: float, low: float = nan, high: float = nan) -> str:
    """A time in ms with three significant digits, but not finer than 1 µs, or 0.1 µs below 10 µs.

    >>> milliseconds(0.0471, 0.0461, 0.0481), milliseconds(12.34), milliseconds(0.0009)
    ('0.047 ±.001', '12.3', '0.0009')
    """
    return with_interval(value, low, high, time_places(value))


def time_places(value: float) -> int:
    """Digits after the point of a time in ms."""
    return min(4 if value < 0.01 else 3, decimals(value, 3))


def size(n_bytes: float) -> str:
    """Bytes in decimal units.

    >>> size(999), size(104_857_600), size(float("nan"))
    ('999 B', '105 MB', '–')
    """
    if not isfinite(n_bytes):
        return BLANK
    power = 0 if n_bytes < 1000 else min(len(UNITS) - 1, floor(log10(n_bytes) / 3))
    scaled = n_bytes / 1000**power
    if round(scaled) == 1000 and power < len(UNITS) - 1:
        power, scaled = power + 1, 1.0
    return f"{scaled:.{0 if power == 0 else decimals(scaled, 3)}f} {UNITS[power]}"


def count(value: float) -> str:
    """A whole number with thousands separators; three significant digits below 100.

    >>> count(20480), count(3.14159), count(float("nan"))
    ('20,480', '3.14', '–')
    """
    if not isfinite(value):
        return BLANK
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.{decimals(value, 3)}f}"
