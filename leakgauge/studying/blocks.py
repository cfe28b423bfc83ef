"""A full factorial of audits: what stays, what changes, and in which levels. Checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from leakgauge.core.errors import UsageError, suggestion

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


def named(blocks: Sequence[Block], name: str) -> Block:
    """The block of that name. Raises UsageError if there is none."""
    for block in blocks:
        if block.name == name:
            return block
    raise UsageError(f"study: no block is called {name!r}, {suggestion(name, (block.name for block in blocks))}")
