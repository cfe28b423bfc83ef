"""Whether a record that was read is one that an audit writes: its lists fit each other, and its images fit it.

What reads records need not ask again: nothing is shorter than what it stands beside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, LIMIT, Record, Setting, Trial
from leakgauge.core.errors import suggestion

_TRIALS = (ATTACK, FLOOR, BLIND, CONTROL, LIMIT)
_MOST = 1_000_000
"""Examples, classes or pixels a side that no audit has."""
TRUTH, GUESS = "truth", "guess."


def faults(record: Record) -> Iterator[str]:
    """Say what of a record no audit writes."""
    setting = record.setting
    if setting is None:
        if record.trials:
            yield "trials: there are some, and no setting"
        return
    yield from _sizes(setting)
    if record.status in ("ok", "diverged", "out_of_scope") and ATTACK not in record.trials:
        yield f"trials: lack {ATTACK!r}"
    for name, trial in record.trials.items():
        if name not in _TRIALS:
            yield f"trials: {name!r} is none, {suggestion(name, _TRIALS)}"
        yield from (f"trials.{name}.{fault}" for fault in _lengths(trial, setting.examples))
    if record.seed < 0 or not math.isfinite(record.seconds):
        yield "seed, seconds: expected a number from 0, and a finite one"


def misfits(record: Record, headers: Mapping[str, tuple[str, tuple[int, ...]]]) -> Iterator[str]:
    """Say which images, of their types and shapes by name, do not fit a record."""
    setting = record.setting
    for name, (kind, shape) in headers.items():
        wanted = None if setting is None else (setting.examples, *setting.input_shape)
        if name != TRUTH and name.removeprefix(GUESS) not in record.trials:
            yield f"{name}: is the image of no trial"
        elif kind != "F32" or shape != wanted:
            yield f"{name}: is {kind} {list(shape)}, expected F32 {list(wanted or ())}"
    if record.setting is not None and headers and f"{GUESS}{ATTACK}" not in headers:
        yield f"{GUESS}{ATTACK}: is missing"


def _sizes(setting: Setting) -> Iterator[str]:
    counts = {"examples": setting.examples, "classes": setting.classes, "parameters": setting.parameters, "sent": setting.sent}
    for name, count in counts.items():
        if count < 0 or (name in ("examples", "classes") and count > _MOST):
            yield f"setting.{name}: got {count}"
    if len(setting.input_shape) == 0 or not all(0 < side <= _MOST for side in setting.input_shape):
        yield f"setting.input_shape: got {list(setting.input_shape)}"
    if setting.class_names and len(setting.class_names) != setting.examples:
        yield f"setting.class_names: holds {len(setting.class_names)}, expected {setting.examples}"
    for name in ("threshold", "margin", "alpha"):
        if not math.isfinite(getattr(setting, name)):
            yield f"setting.{name}: is no finite number"


def _lengths(trial: Trial, examples: int) -> Iterator[str]:
    """The lists of a trial that are not as long as there are examples."""
    lists: dict[str, Any] = {
        **{f"scores.{name}": values for name, values in trial.scores.items()},
        **{f"bars.{name}": values for name, values in trial.bars.items()},
        **{f"rivals.{name}": values for name, values in trial.rivals.items()},
        **({"ranks": trial.ranks} if trial.ranks is not None else {}),
    }
    for name, values in lists.items():
        if len(values) != examples:
            yield f"{name}: holds {len(values)}, expected {examples}, one for each example"
    if trial.ranks is not None and not all(rank >= 1 for rank in trial.ranks):
        yield "ranks: expected numbers from 1"
