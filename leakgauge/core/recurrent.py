"""Recurrent layers on a GPU without cuDNN, whose kernels go backward in training mode only, and never a second time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import nn


def differentiable(net: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    """Return what a forward pass has to run within for its derivatives to exist."""
    if device.type != "cuda":
        return nullcontext()
    if net not in _FOUND:
        _FOUND[net] = any(isinstance(layer, nn.RNNBase) for layer in net.modules())
    return torch.backends.cudnn.flags(enabled=False) if _FOUND[net] else nullcontext()


_FOUND: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Whether a network has such layers."""
