"""Pairs: points of a study that differ in what two samples differ in, and agree in everything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from leakgauge.core.errors import UsageError
from leakgauge.studying.blocks import Level
from leakgauge.studying.cases import Case, Course

One = TypeVar("One", Case, Course)


def partners(mine: Sequence[One], theirs: Sequence[One]) -> Iterator[tuple[One, One]]:
    """Yield each point of a sample with its partner in another: with one seed they have one victim and one secret.

    Raises UsageError where a point has no partner or several.
    """
    ours, others = _by_shared(mine, theirs), _by_shared(theirs, mine)
    if ours.keys() != others.keys() or len(ours) < len(mine) or len(others) < len(theirs):
        raise UsageError(
            f"pairs: got {len(mine)} and {len(theirs)} points that are no pairs, expected samples that differ in the levels of "
            "the same factors; fix these in both"
        )
    for point, one in ours.items():
        yield one, others[point]


def _by_shared(some: Sequence[One], others: Sequence[One]) -> dict[tuple[tuple[str, Level], ...], One]:
    """Each by its levels in the factors in which the two samples have the same levels."""
    shared = [
        factor for factor in some[0].levels if {one.levels[factor] for one in some} == {one.levels.get(factor) for one in others}
    ]
    return {tuple((factor, one.levels[factor]) for factor in shared): one for one in some}
