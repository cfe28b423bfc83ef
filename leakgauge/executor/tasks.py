"""What is run, where, and how a worker says that it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, final

from leakgauge.auditing.record import Ending
from leakgauge.core.algorithm import Count, NonNegativeInt, Positive, algorithm
from leakgauge.core.devices import cores

if TYPE_CHECKING:
    from leakgauge.auditing.outcome import Outcome
    from leakgauge.spec import AuditSpec


@final
@algorithm
class Runtime:
    """Where and how fast audits run; changes no result beyond rounding, and is in no key.

    `device` is "auto" (a GPU if torch sees one), "cpu", "cuda" or "cuda:1"; `timeout` is in seconds per audit; `retries` is how
    often an audit is started again whose process was killed.
    """

    device: str = "auto"
    workers: Count = 1
    timeout: Positive = inf
    retries: NonNegativeInt = 1

    @property
    def threads(self) -> int:
        """How many threads each worker may use."""
        return max(1, cores() // self.workers)


@final
@dataclass(frozen=True)
class Task:
    """One audit to run: what its record is filed under, and the canonical spec that the job is given."""

    key: str
    name: str
    seed: int
    spec: dict[str, Any]  # plain values: no class has to be importable to pass it on or to read it


Tick = Callable[[float], None]
Job = Callable[[dict[str, Any], Runtime, Tick], "Outcome"]
"""Runs the audit of a spec. It is called in a process of its own, and so must be a function of a module."""


def task_of(spec: AuditSpec) -> Task:
    """The task of an audit's spec."""
    from leakgauge.spec import canonical, key

    return Task(key(spec), spec.name, spec.parts.seed, canonical(spec))


@final
@dataclass(frozen=True)
class Failure:
    """Why an attempt came to nothing: bad input, an error, or a process that was killed."""

    status: Ending
    message: str  # one line
    details: str = ""
    is_usage: bool = False
    is_kill: bool = False


DONE = Failure("ok", "")
"""What a worker sends once its record is saved."""
