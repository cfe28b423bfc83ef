"""Numbers as people read them: sensible digits, intervals that say what they are, and a reason where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from leakgauge.core.statistics import median_interval

DASH = "–"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@final
@dataclass(frozen=True)
class Cell:
    """One number of a table with its interval, or the reason why there is none."""

    text: str
    detail: str = ""
    missing: str = ""


def nothing(reason: str) -> Cell:
    """A cell without a number."""
    return Cell(DASH, missing=reason)


def present(values: Sequence[float | None]) -> list[float]:
    """The numbers that are there."""
    return [value for value in values if value is not None and math.isfinite(value)]


def number(metric: str, value: float) -> str:
    """Digits that fit the metric: decibels to a tenth, SSIM to a thousandth, others to three significant digits."""
    name = metric.lower()
    if "psnr" in name:
        return _signed(f"{value:z.1f}")
    if "ssim" in name:
        return _signed(f"{value:z.3f}")
    return significant(value)


def significant(value: float) -> str:
    """Three significant digits, in powers of ten where zeros would crowd."""
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{_signed(digits)} × 10{str(int(power)).translate(_RAISED)}"
    return _signed(f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}")


def summary(metric: str, values: Sequence[float | None], unit: str = "") -> Cell:
    """Median with a 95% interval where six or more numbers allow one, else with the range."""
    numbers = sorted(present(values))
    if not numbers:
        return nothing("no example has a finite score")
    middle = median(numbers)
    text = f"{number(metric, middle)} {unit}".strip()
    some = f" ({len(numbers)} of {len(values)} have a score)" if len(numbers) < len(values) else ""
    if len(numbers) == 1:
        return Cell(text, some.strip())
    bounds = median_interval(numbers)
    kind, (low, high) = ("95% interval", bounds) if bounds else ("range", (numbers[0], numbers[-1]))
    return Cell(text, f"{kind} {number(metric, low)} to {number(metric, high)}{some}")


def median(values: Sequence[float]) -> float:
    """The middle of the numbers."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def share(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.0f}%"


def percentage(value: float) -> str:
    """A share of very many as a percentage, to a tenth."""
    return f"{100 * value:.1f}%"


def p_value(value: float) -> str:
    """A p-value to two digits, never as zero."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def duration(seconds: float) -> str:
    """A time as a clock would say it."""
    if seconds < 0.05:
        return "under 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _signed(text: str) -> str:
    return text.replace("-", "−")  # a hyphen is narrower than a digit, a minus is not
