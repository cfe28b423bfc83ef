"""What a study is: blocks of audits, views of their scores, and claims. All of it is checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, final

from leakgauge.errors import UsageError, suggestion
from leakgauge.record import ATTACK, BLIND, CONTROL, FLOOR

if TYPE_CHECKING:
    from leakgauge.studying.results import Results, Statistic

Level = str | int | float
"""The label of a level: what tables and charts call it. Numbers make a numeric axis."""
Changes = Mapping[str, Any]
"""Dotted path in an audit document to the value that is put there."""


def levels(path: str, values: Iterable[Level]) -> dict[Level, Changes]:
    """The levels of a factor that is one setting: each value is its own label."""
    return {value: {path: value} for value in values}


def everything(_: Mapping[str, Level]) -> bool:
    """Leave no point out."""
    return True


def nothing(_: Mapping[str, Level]) -> Changes:
    """Change nothing besides."""
    return {}


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """A full factorial of audits: `base`, changed by one level of every factor.

    `factors` maps a factor to its levels, and a level to what it changes in the audit document; later factors change last.
    `joint` says what a point changes besides: settings that depend on several factors at once.
    `quick` says which levels of a factor `--quick` keeps, and `briefly` what it changes in the base. A point for which `where` is
    false is left out: where levels do not go together. Raises UsageError for what does not fit together.
    """

    name: str
    base: Mapping[str, Any]
    factors: Mapping[str, Mapping[Level, Changes]]
    quick: Mapping[str, Sequence[Level]] = field(default_factory=dict)
    briefly: Changes = field(default_factory=dict)
    where: Callable[[Mapping[str, Level]], bool] = everything
    joint: Callable[[Mapping[str, Level]], Changes] = nothing

    def __post_init__(self) -> None:
        for factor, found in self.factors.items():
            if not found:
                raise UsageError(f"block {self.name!r}: factor {factor!r} has no levels, expected at least one")
        for factor, kept in self.quick.items():
            self.check({factor: tuple(kept)})

    def check(self, wanted: Mapping[str, Level | tuple[Level, ...]]) -> None:
        """Raise UsageError for a factor or a level that this block does not have."""
        for factor, one in wanted.items():
            if factor not in self.factors:
                raise UsageError(f"block {self.name!r}: no factor is called {factor!r}, {suggestion(factor, self.factors)}")
            for level in one if isinstance(one, tuple) else (one,):
                if level not in self.factors[factor]:
                    known = ", ".join(map(repr, self.factors[factor]))
                    raise UsageError(f"block {self.name!r}: {factor} has no level {level!r}, expected one of {known}")

    def kept(self, factor: str, *, is_quick: bool) -> tuple[Level, ...]:
        """The levels of a factor in a run, in the order of the block."""
        found = self.factors[factor]
        return tuple(level for level in found if not is_quick or level in self.quick.get(factor, found))


@final
@dataclass(frozen=True, kw_only=True)
class View:
    """One table and one chart: a statistic of a score against the factor `x`, a line for every level of `by` and every trial.

    `only` fixes other factors; what is neither named nor fixed (the seed) is pooled. `score` is a metric or "label_accuracy".
    `statistic` is the "median" or "mean" of the scores of all examples, or the "share" of them that reach `threshold`.
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


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence that a number bears out or refutes: `measure` computes it, and it must lie within the bounds.

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

    def __post_init__(self) -> None:
        names = [block.name for block in self.blocks]
        if len(set(names)) < len(names):
            raise UsageError(f"study: got blocks {', '.join(names)}, expected different names")
        for view in self.views:
            block = self.block(view.block)
            for factor in (view.x, *(() if view.by is None else (view.by,))):
                block.check({factor: ()})
            block.check(view.only)
            if view.log_x and not all(not isinstance(level, str) and level > 0 for level in block.factors[view.x]):
                raise UsageError(f"view {view.title!r}: log_x, but not all levels of {view.x} are numbers > 0; leave it out")
            for trial in view.trials:
                if trial not in (ATTACK, FLOOR, BLIND, CONTROL):
                    raise UsageError(f"view {view.title!r}: {suggestion(trial, (ATTACK, FLOOR, BLIND, CONTROL))}")

    def block(self, name: str) -> Block:
        """The block of that name. Raises UsageError if there is none."""
        for block in self.blocks:
            if block.name == name:
                return block
        raise UsageError(f"study: no block is called {name!r}, {suggestion(name, (block.name for block in self.blocks))}")
