"""Updates as people record them, made fit for a model: sparse or dense, torch or NumPy, integers, or of another precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leakgauge.core.errors import UsageError
from leakgauge.core.types import Model, Update
from leakgauge.core.wrappers import unwrapped


def taken_in(update: Update, model: Model) -> Update:
    """Return the update as dense tensors of the model's kind, without what the model does not train.

    `delta` (and `before`) may hold torch tensors of any layout, NumPy arrays or nested lists of numbers, by name or as a list in
    the order of the model's parameters; names may differ by what wrappers add. Integers are taken at their value: a quantization
    step is a scale. A frozen parameter that is exactly zero was not sent. Raises UsageError for what is no array of numbers, and
    for a list of another length.
    """
    given = [name for one in (update.delta, update.before, update.buffers) if isinstance(one, Mapping) for name in one]
    match = unwrapped(dict.fromkeys(given), [*model.params, *model.buffers])
    delta = {
        name: as_kept(f"update: {name!r}", value, model.params.get(name))
        for name, value in match(_named(update.delta, model)).items()
    }
    sent = {name: value for name, value in delta.items() if name not in model.frozen or bool(value.any())}
    before = update.before and {
        name: as_kept(f"weights before: {name!r}", value, model.params.get(name))
        for name, value in match(_named(update.before, model)).items()
    }
    buffers = {name: as_kept(f"update buffers: {name!r}", value, None) for name, value in match(update.buffers).items()}
    return replace(update, delta=sent or delta, before=before, buffers=buffers, notes=(*update.notes, *match.notes))


def _named(values: Any, model: Model) -> Mapping[str, Any]:
    """Values by name; a list is in the order of the parameters, or of those that are trained."""
    if isinstance(values, Mapping):
        return values
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise UsageError(f"update: holds {type(values).__name__}, expected arrays by name; pass a mapping from parameter names")
    for names in (list(model.params), list(model.trained)):
        if len(names) == len(values):
            return dict(zip(names, values, strict=True))
    raise UsageError(
        f"update: holds a list of {len(values)} arrays, expected {len(model.params)}, one for each parameter in order; pass names"
    )


def as_kept(where: str, value: Any, like: Tensor | None) -> Tensor:
    """Return a dense tensor; floating numbers, and integers where the model has floating ones, become as precise as the model's.

    Raises UsageError, beginning with `where`, for what is no array of numbers.
    """
    if not isinstance(value, Tensor):
        try:
            value = torch.from_numpy(np.array(value))  # a copy: arrays of a network library are often read-only
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where} is {type(value).__name__}, expected numbers; convert it to a tensor or an array") from error
    if value.is_quantized:
        value = value.dequantize()
    value = value.detach()
    value = value.to_dense() if value.layout is not torch.strided else value
    is_number = not value.is_complex() and value.dtype is not torch.bool
    kept: Tensor = value.to(like.dtype) if like is not None and like.is_floating_point() and is_number else value
    return kept
