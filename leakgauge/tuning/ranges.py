"""What may be tuned: settings of the attack, each within a range or out of a few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from leakgauge.core.errors import UsageError
from leakgauge.core.reading import put, read_yaml, shown
from leakgauge.spec import AuditSpec, canonical, parse


@final
@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, on a logarithmic scale if both are positive; whole ones if both are and the setting is."""

    low: float
    high: float
    is_integer: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UsageError(f"range: got {self.low}..{self.high}, expected the lower end first; swap them")

    @property
    def is_log(self) -> bool:
        """Whether equal ratios, rather than equal differences, are equally likely."""
        return self.low > 0

    @property
    def ends(self) -> tuple[Any, ...]:
        """What the setting must at least take."""
        return self.low, self.high


@final
@dataclass(frozen=True)
class Choice:
    """A few values of any kind."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise UsageError("choice: got no value, expected at least one, such as  attack.restarts=1,2")

    @property
    def ends(self) -> tuple[Any, ...]:
        """What the setting must take."""
        return self.values


Ranges = Mapping[str, Range | Choice]
"""Dotted path in the audit, such as attack.search.learning_rate, to what the setting there may be."""


def read_range(text: str) -> tuple[str, Range]:
    """Return the path and the range of `a.b=LOW..HIGH`. Raises UsageError for anything else."""
    path, _, ends = text.partition("=")
    low, _, high = ends.partition("..")
    numbers = [read_yaml(end, f"--range {path}") for end in (low, high)]
    if not path.strip() or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        raise UsageError(f"--range: got {text!r}, expected key=low..high, such as  attack.learning_rate=0.01..1")
    try:
        return path.strip(), Range(*numbers)
    except UsageError as error:
        raise UsageError(f"--range {path.strip()}: {error}") from error


def read_choice(text: str) -> tuple[str, Choice]:
    """Return the path and the values of `a.b=A,B,...`, each of them YAML. Raises UsageError for anything else."""
    path, equals, values = text.partition("=")
    if not path.strip() or not equals or not values.strip():
        raise UsageError(f"--choice: got {text!r}, expected key=value,value, such as  attack.restarts=1,2")
    return path.strip(), Choice(tuple(read_yaml(f"[{values}]", f"--choice {path.strip()}")))


def changed(spec: AuditSpec, settings: Mapping[str, Any]) -> AuditSpec:
    """Return the audit with other settings. Raises UsageError, naming them, if they make no sound audit."""
    document: dict[str, Any] = {**canonical(spec), "name": spec.name}
    for path, value in settings.items():
        document = put(document, path, value)
    try:
        return parse(document)
    except UsageError as error:
        raise UsageError(f"at {told(settings)}: {error}") from error


def checked(spec: AuditSpec, ranges: Ranges) -> Ranges:
    """Return the ranges, those of whole numbers marked as such.

    Raises UsageError if there is none, for a path outside of the attack, and for an end that the setting does not take.
    """
    if not ranges:
        raise UsageError("range: got none, expected at least one setting to tune, such as  --range attack.learning_rate=0.01..1")
    return {path: _checked(spec, path, one) for path, one in ranges.items()}


def setting_at(spec: AuditSpec, path: str) -> Any:
    """The value at a dotted path of the audit's canonical form; None where there is none."""
    node: Any = canonical(spec)
    for part in path.split("."):
        if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            node = node.get(part) if isinstance(node, Mapping) else None
    return node


def told(settings: Mapping[str, Any]) -> str:
    """Settings in a line."""
    return ", ".join(f"{path}={shown(value)}" for path, value in settings.items())


def _checked(spec: AuditSpec, path: str, one: Range | Choice) -> Range | Choice:
    if not path.startswith("attack."):
        raise UsageError(
            f"{path}: cannot be tuned, expected a setting of the attack, such as attack.learning_rate; an adversary sets no other"
        )
    taken = [setting_at(changed(spec, {path: value}), path) for value in one.ends]
    if isinstance(one, Choice):
        return one
    return Range(one.low, one.high, is_integer=all(isinstance(value, int) for value in taken))
