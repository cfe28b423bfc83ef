"""What a study is: blocks of audits and of trainings, views of their scores, and claims. Checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, LIMIT
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.studying.blocks import Block, Level, named
from leakgauge.studying.cases import Case, Course, courses, points, shared_out
from leakgauge.studying.results import Results
from leakgauge.studying.samples import IDENTIFIED, LABELS
from leakgauge.studying.statistic import Statistic
from leakgauge.studying.trainings import ACCURACIES, ROUND


@final
@dataclass(frozen=True, kw_only=True)
class View:
    """One table and one chart: a statistic of a score against the factor `x`, a line for every level of `by` and every trial.

    `only` fixes other factors; what is neither named nor fixed (the seed) is pooled. `score` is a metric, "label_accuracy" or
    "identified".
    `statistic` is the "median" or "mean" of the scores of all examples, or the "share" of them that reach `threshold`.

    Of a block of trainings, `score` is "client_accuracy", "server_accuracy" or "stranger_accuracy", of which the mean is shown, and
    `x` may be "round".
    """

    title: str
    block: str
    x: str
    by: str | None = None
    only: Mapping[str, Level] = field(default_factory=dict)
    score: str = "psnr"
    trials: tuple[str, ...] = (ATTACK,)
    statistic: Literal["median", "mean", "share"] = "median"
    threshold: float = 20.0
    log_x: bool = False
    note: str = ""

    @property
    def is_share(self) -> bool:
        """Whether its numbers lie between 0 and 1, as percentages do."""
        return self.statistic == "share" or self.score in (LABELS, IDENTIFIED, *ACCURACIES)


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence that a number bears out or refutes: `measure` computes it, and its interval must lie within the bounds.

    A claim about audits that are not there, or that failed, is not judged; one about levels that `--quick` leaves out is
    left out. Raises UsageError without a bound.
    """

    text: str
    measure: Callable[[Results], Statistic | float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "dB"

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise UsageError(f"claim {self.text!r}: has no bound, expected at_least, at_most or both")

    def holds(self, value: float) -> bool:
        """Whether the value lies within the bounds; a nan never does."""
        least = float("-inf") if self.at_least is None else self.at_least
        most = float("inf") if self.at_most is None else self.at_most
        return least <= value <= most


@final
@dataclass(frozen=True, kw_only=True)
class Study:
    """A question in one sentence, and what answers it. Raises UsageError for a view of what no block has."""

    question: str
    blocks: tuple[Block, ...]
    views: tuple[View, ...]
    claims: tuple[Claim, ...]
    method: str = ""  # a paragraph: what is compared with what, and what was settled beforehand
    trainings: tuple[Block, ...] = ()  # blocks whose documents are federations

    def __post_init__(self) -> None:
        names = [block.name for block in self.every]
        if len(set(names)) < len(names):
            raise UsageError(f"study: got blocks {', '.join(names)}, expected different names")
        for view in self.views:
            self._check(view)

    @property
    def every(self) -> tuple[Block, ...]:
        """The blocks of both kinds."""
        return (*self.blocks, *self.trainings)

    def block(self, name: str) -> Block:
        """The block of that name. Raises UsageError if there is none."""
        return named(self.every, name)

    def trains(self, block: str) -> bool:
        """Whether the points of a block are trainings."""
        return any(one.name == block for one in self.trainings)

    def _check(self, view: View) -> None:
        block, trains = self.block(view.block), self.trains(view.block)
        for factor in (view.x, *(() if view.by is None else (view.by,))):
            if not (trains and factor == view.x == ROUND):
                block.check({factor: ()})
        block.check(view.only)
        if trains != (view.score in ACCURACIES) or (trains and view.statistic != "mean"):
            scores = "the mean of " + ", ".join(ACCURACIES) if trains else "a score of audits"
            raise UsageError(f"view {view.title!r}: got the {view.statistic} of {view.score!r}, expected {scores}; change it")
        if view.log_x and not all(not isinstance(level, str) and level > 0 for level in block.factors[view.x]):
            raise UsageError(f"view {view.title!r}: log_x, but not all levels of {view.x} are numbers > 0; leave it out")
        for trial in view.trials:
            if trial not in (ATTACK, FLOOR, BLIND, CONTROL, LIMIT):
                raise UsageError(f"view {view.title!r}: {suggestion(trial, (ATTACK, FLOOR, BLIND, CONTROL, LIMIT))}")


def cases(study: Study, *, is_quick: bool = False, overrides: Sequence[str] = ()) -> tuple[Case, ...]:
    """Return the audits of all blocks, each checked before any of them runs; `a.b=value` overrides change every base.

    Raises UsageError, naming the point, for the first that is no sound audit.
    """
    ours = shared_out(overrides)[0] if study.trainings else overrides
    return tuple(case for block in study.blocks for case in points(block, is_quick=is_quick, overrides=ours))


def trainings(study: Study, *, is_quick: bool = False, overrides: Sequence[str] = ()) -> tuple[Course, ...]:
    """Return the trainings of all blocks, as `cases` does their audits."""
    ours = shared_out(overrides)[1] if study.blocks else overrides
    return tuple(one for block in study.trainings for one in courses(block, is_quick=is_quick, overrides=ours))
