"""How often a forward pass meets an operation whose derivative jumps: rectifiers, and pools that take the largest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from leakgauge.core import tree
from leakgauge.core.anatomy import probe
from leakgauge.core.types import Model


def kinks(model: Model) -> int:
    """Return how many rectifiers and largest-value pools one example runs through; counted once for each network, and kept.

    Raises UsageError for whatever the network raises.
    """
    if model.net not in _FOUND:
        # torch leaves the constructor of its modes without types
        with torch.no_grad(), _Counter() as counter:  # type: ignore[no-untyped-call]
            model.forward(model.params, tree.apply(torch.Tensor.clone, model.buffers), probe(model, 0), training=False)
        _FOUND[model.net] = counter.count
    return _FOUND[model.net]


class _Counter(TorchDispatchMode):
    """Counts as operations run, for networks call them as layers, as functions or as methods."""

    count = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = str(getattr(func, "overloadpacket", func)).removeprefix("aten.").removesuffix("_")
        self.count += name in _KINKED
        return func(*args, **(kwargs or {}))


_KINKED = frozenset(
    {
        *("relu", "leaky_relu", "prelu", "_prelu_kernel", "rrelu_with_noise", "threshold", "hardtanh", "hardswish", "hardsigmoid"),
        *("clamp_min", "clamp_max", "clamp", "maximum", "minimum"),
        *(
            "max_pool1d_with_indices",
            "max_pool2d_with_indices",
            "max_pool3d_with_indices",
            "adaptive_max_pool2d",
            "adaptive_max_pool3d",
        ),
    }
)
_FOUND: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
