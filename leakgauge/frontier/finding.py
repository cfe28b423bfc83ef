"""What the measurements allow to say: which options no other one beats, and which to take, with what that rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import final

from leakgauge.core.accounting import PrivacyLoss
from leakgauge.core.statistics import median_interval, wilson
from leakgauge.frontier.document import Frontier
from leakgauge.frontier.running import Measured

Interval = tuple[float, float]


@final
@dataclass(frozen=True)
class Row:
    """One option in numbers, each share with its 95% interval."""

    name: str
    accuracy: float | None
    accuracy_interval: Interval | None
    leaked: int
    undecided: int
    updates: int
    leak_interval: Interval
    psnr: float
    psnr_interval: Interval | None
    seconds: float | None
    privacy: PrivacyLoss | None
    is_best: bool  # no other option is at least as good in accuracy, leaks and PSNR, and better in one


@final
@dataclass(frozen=True)
class Findings:
    """The rows in the order of the file, and a recommendation."""

    name: str
    rows: tuple[Row, ...]
    recommendation: str
    method: str
    command: str  # that makes it again
    is_quick: bool = False


def conclude(frontier: Frontier, measured: Sequence[Measured], *, command: str) -> Findings:
    """Return the findings of all options."""
    best = _undominated([_point(one) for one in measured])
    rows = tuple(_row(one, is_best=is_best) for one, is_best in zip(measured, best, strict=True))
    return Findings(frontier.name, rows, _recommendation(rows), _method(measured[0]), command, frontier.is_quick)


def _method(one: Measured) -> str:
    """How it was measured, by the first option."""
    federation, audits = one.option.federation, one.option.audits
    first = next(iter(audits.values()))[0]
    return (
        f"Accuracy is that on {one.tested} examples that nobody trained on, after {federation.rounds} rounds over "
        f"{federation.parts.clients} clients; where these keep something to themselves, the mean over up to three of them. The "
        f"first option was attacked in {len(one.records)} updates of {first.parts.batch.size} examples by {', '.join(audits)}, the "
        f"adversary being {first.parts.threat.name!r}; an update leaks if one of them finds a leak, whole or in part, and PSNR is "
        "the best of all."
    )


def _row(one: Measured, *, is_best: bool) -> Row:
    updates, accuracy = len(one.records), one.accuracy
    return Row(
        name=one.option.name,
        accuracy=accuracy,
        accuracy_interval=None if accuracy is None else wilson(round(accuracy * one.tested), one.tested),
        leaked=one.leaked,
        undecided=one.undecided,
        updates=updates,
        leak_interval=wilson(one.leaked, updates),
        psnr=median(one.psnr),
        psnr_interval=median_interval(one.psnr),
        seconds=one.seconds,
        privacy=one.privacy,
        is_best=is_best,
    )


def _point(one: Measured) -> tuple[float, float, float] | None:
    """What is better where it is more; None where the training diverged."""
    return None if one.accuracy is None else (one.accuracy, -float(one.leaked), -median(one.psnr))


def _undominated(points: Sequence[tuple[float, float, float] | None]) -> list[bool]:
    there = [point for point in points if point is not None]
    return [
        point is not None and not any(other != point and all(b >= a for a, b in zip(point, other, strict=True)) for other in there)
        for point in points
    ]


def _recommendation(rows: Sequence[Row]) -> str:
    """Of the options behind which nothing was found, the one with the highest accuracy; and what that does not say."""
    safe = [row for row in rows if row.accuracy is not None and row.leaked == row.undecided == 0]
    if not safe:
        return "Behind every option that could be trained, a leak was found or an audit was inconclusive: none can be recommended."
    chosen = max(safe, key=lambda row: row.accuracy or 0.0)
    low, high = chosen.accuracy_interval or (0.0, 1.0)
    highest = max(row.accuracy for row in rows if row.accuracy is not None)
    return (
        f"{chosen.name}: of the {len(safe)} options behind which these attacks found nothing in {chosen.updates} updates, the one "
        f"with the highest accuracy, {chosen.accuracy:.1%} ({low:.1%} to {high:.1%}); the highest of all options is {highest:.1%}. "
        f"After {chosen.updates} updates, up to {chosen.leak_interval[1]:.0%} of all may still leak to these attacks, and a "
        "stronger attack may find more."
    )
