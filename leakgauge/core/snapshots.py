"""Weights as people keep them, as tensors by name: a network, its state dict, arrays, a checkpoint around one, or a file of these.

No file is unpickled beyond tensors and plain containers (`torch.load(weights_only=True)`, arrays without objects).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from leakgauge.core import archives
from leakgauge.core.errors import UsageError, one_line
from leakgauge.core.types import Model, Params

Weights = nn.Module | Model | Mapping[str, Any] | Sequence[Any] | str | Path
"""What `snapshot` takes."""
_HOLDERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params", "parameters")
"""What training scripts call the weights in their checkpoints, the likeliest first."""


def snapshot(key: str, source: Weights, names: Sequence[str] = ()) -> Params:
    """Return the tensors of a network by name. `key` is where the source stood.

    `source` is a module, a mapping from names to tensors or NumPy arrays, a checkpoint that holds such a mapping, the path of a
    .safetensors, .npz or torch file of one of these, or arrays in the order of `names`. Raises UsageError for anything else.
    """
    if isinstance(source, str | Path):
        return snapshot(f"{key}: {source}", _read(key, Path(source)), names)
    if isinstance(source, Model):
        return {**source.params, **source.buffers}
    if isinstance(source, nn.Module):
        return dict(source.state_dict())
    if isinstance(source, Sequence) and not isinstance(source, bytes):
        return _tensors(key, _in_order(key, source, names))
    if not isinstance(source, Mapping):
        raise UsageError(
            f"{key}: got {type(source).__name__}, expected a mapping from names to tensors; pass its state_dict(), or its path"
        )
    return _tensors(key, _within(key, source))


def _read(key: str, path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"{key}: got {str(path)!r}, expected a file that exists; check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            known = archives.names(path)
            return dict(zip(known, archives.arrays(path, known), strict=True))
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{key}: {path} holds more than tensors, and code that a file brings along is not run; expected a state dict: write "
            "torch.save(network.state_dict(), path), or safetensors"
        ) from error
    except Exception as error:
        raise UsageError(
            f"{key}: {path} cannot be read ({one_line(error)}), expected safetensors, .npz, or a state dict of torch; write it anew"
        ) from error


def _within(key: str, source: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The mapping itself, or that of the weights in a checkpoint."""
    if any(_is_array(value) for value in source.values()) or not source:
        return source
    inner = {
        str(name): value
        for name, value in source.items()
        if isinstance(value, nn.Module) or (isinstance(value, Mapping) and value and all(map(_is_array, value.values())))
    }
    likely = [name for name in _HOLDERS if name in inner] or (list(inner) if len(inner) == 1 else [])
    if not likely:
        raise UsageError(
            f"{key}: holds {', '.join(map(str, list(source)[:8]))}, and no tensors, expected the weights of a network; "
            "pass the state dict in it, such as checkpoint['state_dict']"
        )
    found = inner[likely[0]]
    return found.state_dict() if isinstance(found, nn.Module) else found


def _in_order(key: str, source: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    if not names:
        raise UsageError(f"{key}: holds {len(source)} arrays without names, expected a mapping from names; pass `model`, or names")
    if len(names) != len(source):
        raise UsageError(
            f"{key}: holds {len(source)} arrays, expected {len(names)}, one for each tensor of the model's state dict; pass names"
        )
    return dict(zip(names, source, strict=True))


def _tensors(key: str, found: Mapping[Any, Any]) -> Params:
    if not found:
        raise UsageError(f"{key}: holds no tensor, expected the weights of a network; pass its state_dict()")
    return {str(name): _tensor(key, str(name), value) for name, value in found.items()}


def _tensor(key: str, name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if not _is_array(value):
        raise UsageError(f"{key}: {name!r} is {type(value).__name__}, expected a tensor; drop it, or convert it")
    try:
        return torch.from_numpy(np.array(value))  # a copy: arrays of a network library are often read-only
    except TypeError as error:
        raise UsageError(f"{key}: {name!r} holds {np.asarray(value).dtype}, expected numbers; convert it") from error


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray | np.generic)
