"""What the audits and trainings of a study found: samples of them, picked by levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from leakgauge.auditing.record import Record
from leakgauge.federation.running import Curve
from leakgauge.studying.blocks import Block, Level, named
from leakgauge.studying.cases import Case, Course
from leakgauge.studying.samples import LeftOut, Sample, Unsettled
from leakgauge.studying.trainings import Trainings

Wanted = Level | tuple[Level, ...]


@final
@dataclass(frozen=True)
class Results:
    """The points of a run, with the records and the curves that are there."""

    blocks: tuple[Block, ...]
    cases: tuple[Case, ...]
    records: Mapping[str, Record]
    is_quick: bool = False
    courses: tuple[Course, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def of(self, block: str, wanted: Mapping[str, Wanted] | None = None) -> Sample:
        """Return the cases of a block at these levels, all of which have ended: factor to one label, or to several.

        Raises Unsettled if some are missing or failed, LeftOut for levels that this run leaves out, and UsageError for a
        factor or a level that the block does not have.
        """
        sample = self.select(block, wanted or {})
        if not sample.cases:
            raise LeftOut("This run leaves out what the claim is about.")
        for cases, what in ((sample.missing, "missing"), (sample.failed, "failed")):
            if cases:
                raise _unsettled(f"{len({case.key for case in sample.cases})} audits {what}", [case.spec.name for case in cases])
        return sample

    def trained(self, block: str, wanted: Mapping[str, Wanted] | None = None) -> Trainings:
        """Return the trainings of a block at these levels, all of which came to their last round. Raises as `of`."""
        sample = self.select_trainings(block, wanted or {})
        if not sample.courses:
            raise LeftOut("This run leaves out what the claim is about.")
        for courses, what in ((sample.missing, "missing"), (sample.diverged, "diverged")):
            if courses:
                raise _unsettled(f"{len(sample.distinct)} trainings {what}", [one.spec.name for one in courses])
        return sample

    def select(self, block: str, wanted: Mapping[str, Wanted]) -> Sample:
        """Return the cases of a block at these levels, whether they have ended or not."""
        levels = self._levels(block, wanted)
        return Sample(tuple(one for one in self.cases if _is_at(one, block, levels)), self.records)

    def select_trainings(self, block: str, wanted: Mapping[str, Wanted]) -> Trainings:
        """Return the trainings of a block at these levels, whether they have run or not."""
        levels = self._levels(block, wanted)
        return Trainings(tuple(one for one in self.courses if _is_at(one, block, levels)), self.curves)

    def _levels(self, block: str, wanted: Mapping[str, Wanted]) -> Mapping[str, tuple[Level, ...]] | None:
        """The levels of each factor; None where this run leaves one out."""
        found = named(self.blocks, block)
        found.check(wanted)
        levels = {factor: one if isinstance(one, tuple) else (one,) for factor, one in wanted.items()}
        is_there = all(set(several) <= set(found.kept(factor, is_quick=self.is_quick)) for factor, several in levels.items())
        return levels if is_there else None


def _is_at(one: Case | Course, block: str, levels: Mapping[str, tuple[Level, ...]] | None) -> bool:
    if levels is None or one.block != block:
        return False
    return all(one.levels[factor] in several for factor, several in levels.items())


def _unsettled(what: str, names: Sequence[str]) -> Unsettled:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return Unsettled(f"{len(names)} of {what}: {names[0]}{more}")
