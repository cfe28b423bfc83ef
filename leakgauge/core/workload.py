"""How much work a pass through a network is, and on how many threads it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from leakgauge.core.types import Model


def operations(model: Model, x: Tensor) -> int:
    """Return how many floating-point operations a forward pass takes: products of matrices, convolutions, attention."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.forward(model.params, model.buffers, x, training=False)
    return int(counter.get_total_flops())


@contextmanager
def threads_for(count: int) -> Iterator[None]:
    """Compute on one thread what has few operations a pass, and would wait longer for a second one than that would help.

    Sums are then in one order, however many threads a process was given.
    """
    threads = torch.get_num_threads()
    if count >= _SHARED or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_SHARED = 500_000_000
"""Floating-point operations of a forward pass from which on several threads pay (see docs/performance.md)."""
