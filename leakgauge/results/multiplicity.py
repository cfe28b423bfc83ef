"""Many audits at once: which of the leaks they tell are more than what chance tells of so many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scipy.stats import false_discovery_control

from leakgauge.auditing.record import Record

TOLD = ("leaks", "partial leak")
"""The verdicts that rest on a chance."""
RATE = 0.05


def doubtful(records: Sequence[Record], rate: float = RATE) -> Mapping[str, float]:
    """Return the audits (key to adjusted chance) that tell of a leak and would not if all were judged together.

    The chances of all audits that have one are adjusted by Benjamini and Hochberg (JRSS B 1995), so that of the leaks that stand a
    share of at most `rate` is expected to be chance, and if nothing leaks at all, any stands with at most that probability. This
    takes audits for independent; those that share a secret or a model are less than so many.
    """
    tested = [record for record in records if record.verdict.p_value is not None]
    if not tested:
        return {}
    adjusted = false_discovery_control([min(1.0, record.verdict.p_value or 0.0) for record in tested])
    return {
        record.key: float(chance)
        for record, chance in zip(tested, adjusted, strict=True)
        if chance > rate and record.verdict.outcome in TOLD
    }


def together(records: Sequence[Record], rate: float = RATE) -> str:
    """Say, of several audits that tell of leaks, which of these stand together; empty where there is nothing to say."""
    tested = [record for record in records if record.verdict.p_value is not None]
    told = [record for record in tested if record.verdict.outcome in TOLD]
    if len(tested) < 2 or not told:
        return ""
    fallen = doubtful(records, rate)
    at = f"at a false discovery rate of {rate:.0%} over the {len(tested)} audits that were tested (Benjamini-Hochberg)"
    if not fallen:
        return f"All {len(told)} audits that tell of a leak stand {at}."
    names = ", ".join(record.name or record.key for record in told if record.key in fallen)
    return f"{len(fallen)} of {len(told)} audits that tell of a leak do not stand {at}: {names}."
