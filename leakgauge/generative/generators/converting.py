"""Generators of packages as generators of leakgauge: checkpoints of PyTorch become safetensors. Nothing in them is run.

A DCGAN is a row of deconvolutions with BatchNorm between them; of the first, which sees one code, a linear layer is made, and every
BatchNorm becomes part of the layer before it. Parameters are found by their shapes and order, whatever their names.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leakgauge.core.errors import UsageError
from leakgauge.generative.generators.deconvolution import Deconvolution, Sizes
from leakgauge.generative.generators.training.networks import fold


def convert(path: Path, *, classes: int, made: Mapping[str, str]) -> Deconvolution:
    """Return the generator of a checkpoint of a DCGAN; the last `classes` numbers of what it takes are its labels.

    Read with `weights_only`. Raises UsageError for a file that is missing, or holds no such generator.
    """
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise UsageError(f"source: got {str(path)!r}, expected a file that exists; check the path") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UsageError(f"source: {path} is no checkpoint of PyTorch that can be read without running it, expected one") from error
    for state in _states(found):
        generator = _dcgan(state, classes, made)
        if generator is not None:
            return generator
    raise UsageError(
        f"source: {path} holds no generator of deconvolutions (4x4, the first of stride 1, the others of stride 2, BatchNorm "
        "between them), expected the weights of a DCGAN; convert it in Python"
    )


def _states(found: Any) -> list[Mapping[str, Tensor]]:
    """The state dicts in a checkpoint: itself, or what it holds under some names."""
    if not isinstance(found, Mapping):
        return []
    inner = [state for value in found.values() for state in _states(value)]
    return [*([found] if found and all(isinstance(value, Tensor) for value in found.values()) else []), *inner]


def _dcgan(state: Mapping[str, Tensor], classes: int, made: Mapping[str, str]) -> Deconvolution | None:
    kernels = [(name, value.float()) for name, value in state.items() if value.ndim == 4]
    norms = [name.removesuffix("running_mean") for name in state if name.endswith("running_mean")]
    if len(kernels) < 2 or len(norms) != len(kernels) - 1 or any(tuple(value.shape[2:]) != (4, 4) for _, value in kernels):
        return None
    widths = tuple(value.shape[1] for _, value in kernels)
    if any(value.shape[0] != width for (_, value), width in zip(kernels[1:], widths, strict=False)):
        return None
    params: dict[str, Tensor] = {}
    for index, (name, weight) in enumerate(kernels):
        bias = state.get(name.removesuffix("weight") + "bias", torch.zeros(weight.shape[1])).float()
        if index < len(norms):
            weight, bias = fold(weight, bias, _norm(state, norms[index]))
        if index == 0:  # [code, channels, 4, 4] as a linear layer's [channels * 16, code], and a bias for each place
            weight, bias = weight.flatten(1).T, bias.repeat_interleave(16)
        params[f"{index}.weight"], params[f"{index}.bias"] = weight.contiguous(), bias.clone()
    entering = kernels[0][1].shape[0]
    if not 0 <= classes < entering:
        raise UsageError(f"classes: got {classes}, expected less than the {entering} numbers that the generator takes")
    return Deconvolution(Sizes(entering - classes, classes, widths[-1], 4, 4, widths[:-1]), params, dict(made))


def _norm(state: Mapping[str, Tensor], prefix: str) -> nn.Module:
    norm = nn.BatchNorm2d(len(state[f"{prefix}running_mean"]))
    norm.load_state_dict({name: state[f"{prefix}{name}"] for name in norm.state_dict() if f"{prefix}{name}" in state}, strict=False)
    return norm
