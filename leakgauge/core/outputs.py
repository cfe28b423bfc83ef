"""The logits in what a network returns: a tensor, or the tuple, dictionary or object that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from leakgauge.core.errors import UsageError

_NAMES = ("logits", "out")


def logits_in(output: object, examples: int, classes: int) -> Tensor:
    """Return the logits [n, classes]: the output itself, its `logits` or `out`, or the first tensor of a tuple with that shape.

    `classes` 0 stands for any number. Raises UsageError where there is none.
    """
    if isinstance(output, Tensor):
        return output
    rows = [value for value in _candidates(output) if value.ndim == 2 and len(value) == examples]
    for value in rows:
        if value.shape[1] == classes:
            return value
    if rows:
        return rows[0]
    raise UsageError(
        f"model: gives {_described(output)}, expected logits [{examples}, {classes or 'classes'}], or an output that holds them as "
        "'logits'; wrap the network in a module whose forward returns them"
    )


def _candidates(output: object) -> Iterator[Tensor]:
    parts: list[object] = []
    if isinstance(output, Mapping):
        parts += [output.get(name) for name in _NAMES]
    parts += [getattr(output, name, None) for name in _NAMES]
    if isinstance(output, tuple | list):
        parts += output
    return (part for part in parts if isinstance(part, Tensor))


def _described(output: object) -> str:
    if isinstance(output, Mapping):
        return f"a mapping of {', '.join(f'{name}: {_kind(value)}' for name, value in output.items()) or 'nothing'}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {', '.join(map(_kind, output)) or 'nothing'}"
    return f"an object of type {type(output).__name__}"


def _kind(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
