"""What a forward pass has to run within so that the way back is there, and is that of the weights it ran with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.autograd.graph import disable_saved_tensors_hooks


@contextmanager
def reversible(net: nn.Module, device: torch.device) -> Iterator[None]:
    """Leave cuDNN out of recurrent layers on a GPU, and refuse gradient checkpointing.

    cuDNN's recurrent kernels go backward in training mode only, and never a second time. Checkpointing runs parts of the network
    again when its derivatives are asked for, by then with the weights that lie in the module and not with those it was called with.
    """
    if net not in _ARE_RECURRENT:
        _ARE_RECURRENT[net] = any(isinstance(layer, nn.RNNBase) for layer in net.modules())
    is_left_out = device.type == "cuda" and _ARE_RECURRENT[net]
    with torch.backends.cudnn.flags(enabled=False) if is_left_out else nullcontext(), disable_saved_tensors_hooks(_CHECKPOINTS):
        yield


_ARE_RECURRENT: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_CHECKPOINTS = "gradient checkpointing would run it again with other weights: switch that off, it changes no result"
