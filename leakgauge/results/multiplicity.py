"""Many audits at once: which of the leaks they tell are more than what chance tells of so many."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import false_discovery_control

from leakgauge.auditing.record import Record

TOLD = ("leaks", "partial leak")
"""The verdicts that rest on a chance."""
RATE = 0.05


_NAMED = 5
"""Audits that a sentence names before it counts the rest."""


def doubts(records: Sequence[Record], rate: float = RATE) -> tuple[float | None, ...]:
    """Return for each record the adjusted chance of its leak where the leak would not be told if all were judged together.

    None is for every other record. The chances of all audits that have one are adjusted by Benjamini and Hochberg (JRSS B 1995),
    so that of the leaks that stand a share of at most `rate` is expected to be chance, and if nothing leaks at all, any stands with
    at most that probability. This takes audits for independent; those that share a secret or a model are less than so many.
    """
    chances = [record.verdict.p_value for record in records]
    tested = [min(1.0, chance) for chance in chances if chance is not None]
    adjusted = iter(false_discovery_control(tested) if tested else ())
    judged = [None if chance is None else float(next(adjusted)) for chance in chances]
    return tuple(
        chance if chance is not None and chance > rate and record.verdict.outcome in TOLD else None
        for record, chance in zip(records, judged, strict=True)
    )


def tested(records: Sequence[Record]) -> int:
    """How many audits have a chance that an adjustment counts."""
    return sum(record.verdict.p_value is not None for record in records)


def together(records: Sequence[Record], rate: float = RATE) -> str:
    """Say, of several audits that tell of leaks, which of these stand together; empty where there is nothing to say."""
    told = sum(record.verdict.p_value is not None and record.verdict.outcome in TOLD for record in records)
    if tested(records) < 2 or not told:
        return ""
    fallen = [record for record, doubt in zip(records, doubts(records, rate), strict=True) if doubt is not None]
    at = f"at a false discovery rate of {rate:.0%} over the {tested(records)} audits that were tested (Benjamini-Hochberg)"
    if not fallen:
        return f"The audit that tells of a leak stands {at}." if told == 1 else f"All {told} audits that tell of a leak stand {at}."
    names = [record.name or record.key or "one without a name" for record in fallen[:_NAMED]]
    rest = f" and {len(fallen) - _NAMED} more" if len(fallen) > _NAMED else ""
    number = "1 does" if len(fallen) == 1 else f"{len(fallen)} do"
    return f"Of {told} audits that tell of a leak, {number} not stand {at}: {', '.join(names)}{rest}."
