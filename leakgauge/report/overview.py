"""The overview of a sweep: every audit that was started in one table, with only what tells the audits apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from leakgauge.auditing.record import ATTACK, FLOOR, Record
from leakgauge.core.statistics import wilson
from leakgauge.report.numbers import DASH, Cell, duration, median, number, plural, present, share, summary
from leakgauge.report.view import Heading
from leakgauge.results.multiplicity import together
from leakgauge.results.variations import Group, over_seeds, variations


@final
@dataclass(frozen=True)
class Line:
    """One audit in the table."""

    view: Heading
    link: str
    differences: tuple[str, ...]
    attack: str
    floor: str
    identified: str
    time: str


@final
@dataclass(frozen=True)
class Seeds:
    """Audits that differ in their seeds alone, in one line of the table over seeds."""

    differences: tuple[str, ...]
    count: int
    leaks: str
    attack: Cell
    floor: Cell


@final
@dataclass(frozen=True)
class Overview:
    """All audits at a glance. `tally` holds (CSS class, words, count), and counts every audit that was started."""

    headline: str
    tally: tuple[tuple[str, str, int], ...]
    total: int
    together: str  # which of the leaks stand, of so many audits
    keys: tuple[str, ...]  # of the specs, those that vary
    lines: tuple[Line, ...]
    grouped_keys: tuple[str, ...]  # that vary, besides the seed
    grouped: tuple[Seeds, ...]  # empty where no two audits differ in their seed alone


_LISTED = 1000
"""Audits that are listed one by one; a page with more takes long to open."""
_ORDER = {"bad": "leak", "unsure": "inconclusive", "broken": "did not finish", "calm": "no leak found"}


def overview(records: Sequence[Record], views: Sequence[Heading], links: Sequence[str] = ()) -> Overview:
    """Sum up the audits, in the order given; `links` lead to each, which is on the same page where there are none."""
    keys, differences = variations([record.spec for record in records])
    counts = Counter(view.tone for view in views)
    groups = over_seeds(records)
    tally = tuple((tone, label, counts[tone]) for tone, label in _ORDER.items() if counts[tone])
    return Overview(
        headline=_headline(counts["bad"], counts["calm"], len(views)),
        tally=tally,
        total=len(views),
        together=together(records),
        keys=keys,
        lines=tuple(
            Line(shown, link, row, _middle(record, ATTACK), _middle(record, FLOOR), _identified(record), duration(record.seconds))
            for record, shown, link, row in zip(
                records[:_LISTED],
                views[:_LISTED],
                links[:_LISTED] or [f"#{shown.anchor}" for shown in views[:_LISTED]],
                differences[:_LISTED],
                strict=True,
            )
        ),
        grouped_keys=tuple(groups[0].differences) if groups else (),
        grouped=tuple(seeds(group) for group in groups),
    )


def seeds(group: Group) -> Seeds:
    """Sum up audits that differ in their seeds alone: how many leak, and the medians of their examples, with intervals."""
    leaking = sum(record.verdict.outcome in ("leaks", "partial leak") for record in group.records)
    low, high = wilson(leaking, len(group.records))
    return Seeds(
        differences=tuple(group.differences.values()),
        count=len(group.records),
        leaks=f"{leaking} of {len(group.records)} ({share(low)} to {share(high)})",
        attack=_over(group, ATTACK),
        floor=_over(group, FLOOR),
    )


def _over(group: Group, trial: str) -> Cell:
    """The median of one value an audit: the examples of a batch go together."""
    found = [present(record.trials[trial].scores.get("psnr", ())) for record in group.records if trial in record.trials]
    return summary("psnr", [median(numbers) for numbers in found if numbers])


def _headline(leaking: int, calm: int, total: int) -> str:
    """What the audits come to. One that is inconclusive, or did not finish, is never summed up as one without a leak."""
    audits = plural(total, "audit")
    if leaking:
        return f"{leaking} of {audits} {'leaks' if leaking == 1 else 'leak'}"
    if not calm:
        return f"None of {audits} can tell"
    return f"No leak found in {audits}" if calm == total else f"No leak found in {calm} of {audits}, the others cannot tell"


def _middle(record: Record, trial: str) -> str:
    numbers = present(record.trials[trial].scores.get("psnr", ())) if trial in record.trials else []
    return number("psnr", median(numbers)) if numbers else DASH


def _identified(record: Record) -> str:
    ranks = record.trials[ATTACK].ranks if ATTACK in record.trials else None
    return f"{sum(rank == 1 for rank in ranks)} of {len(ranks)}" if ranks else DASH
