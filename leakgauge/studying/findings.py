"""What a study found, as plain values: each claim judged, each view computed, and every audit accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

from leakgauge.federation.running import Point
from leakgauge.studying.blocks import Level
from leakgauge.studying.document import View
from leakgauge.studying.statistic import Statistic

Ruling = Literal["holds", "fails", "too few to tell", "cannot tell", "left out"]


@final
@dataclass(frozen=True)
class Judgment:
    """A claim with what was measured; `reason` says why nothing was."""

    text: str
    bound: str
    unit: str
    result: Ruling
    measured: Statistic | None = None
    reason: str = ""


@final
@dataclass(frozen=True)
class Cell:
    """One point of a view; None where no audit has run, or where the block has no such point."""

    statistic: Statistic | None
    missing: int = 0  # audits or trainings that have not run, and are not in the statistic
    blank: int = 0  # audits that ended without a guess, in the statistic with the worst score; trainings that diverged, in none


@final
@dataclass(frozen=True)
class Series:
    """One line of a chart, one row of a table."""

    label: str
    cells: tuple[Cell, ...]


@final
@dataclass(frozen=True)
class Table:
    """A view, computed: a column for every level of `x`."""

    view: View
    levels: tuple[Level, ...]
    series: tuple[Series, ...]


@final
@dataclass(frozen=True)
class Audit:
    """One audit of the study, by its place in it."""

    block: str
    levels: Mapping[str, Level]
    key: str
    status: str  # of its record, or "missing"
    scores: Mapping[str, Mapping[str, tuple[float | None, ...]]] = field(default_factory=dict)  # trial to metric to [n]
    label_accuracy: Mapping[str, float | None] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class TrainingRun:
    """One training of the study, by its place in it."""

    block: str
    levels: Mapping[str, Level]
    key: str
    status: str  # of its curve, or "missing"
    points: tuple[Point, ...] = ()


@final
@dataclass(frozen=True)
class Findings:
    """All that a study found in one run."""

    name: str
    question: str
    method: str
    command: str  # that makes it again
    is_quick: bool
    data: tuple[str, ...]
    claims: tuple[Judgment, ...]
    tables: tuple[Table, ...]
    audits: tuple[Audit, ...]
    seconds: float  # of all audits and trainings, one after the other
    environments: tuple[Mapping[str, str], ...]
    trainings: tuple[TrainingRun, ...] = ()

    @property
    def missing(self) -> tuple[Audit | TrainingRun, ...]:
        """The audits and trainings that have not run."""
        every: tuple[Audit | TrainingRun, ...] = (*self.audits, *self.trainings)
        return tuple(one for one in every if one.status == "missing")

    @property
    def exit_code(self) -> int:
        """1 if a claim fails, 3 if one cannot be judged or, in a whole run, rests on too few, else 0."""
        results = {claim.result for claim in self.claims}
        open_ones = {"cannot tell"} if self.is_quick else {"cannot tell", "too few to tell"}
        return 1 if "fails" in results else 3 if results & open_ones else 0
