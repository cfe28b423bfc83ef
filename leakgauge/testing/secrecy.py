"""What can be reached from what an adversary holds."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from leakgauge.core.types import Batch, Observation
from leakgauge.testing.expecting import expect


def check_secrecy(seen: Observation, secret: Batch) -> None:
    """Raise AssertionError if the secret can be reached from an observation.

    That is, if a tensor that can be reached shares memory with the secret, hangs on its graph, or holds the pixels of one of its
    examples.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (secret.x, secret.y)}
    examples = secret.x.detach().flatten(1)
    for path, tensor in tensors_in(seen, "observation"):
        expect(tensor.untyped_storage().data_ptr() not in own, f"{path}: shares memory with the secret, expected a copy")
        expect(tensor.grad_fn is None, f"{path}: hangs on a graph that leads to the secret, expected it detached")
        expect(not _holds(tensor, examples), f"{path}: holds a secret example")


def tensors_in(value: object, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors that hold numbers and can be reached from a value, each with the path to it.

    Fields, items, closures, defaults, bound objects, modules and autograd graphs are followed; the globals of functions are not.
    """
    met: dict[int, object] = {}  # the values themselves, so that no id is used twice
    open_ends = [(path, value)]
    while open_ends:
        here, one = open_ends.pop()
        if id(one) in met or isinstance(one, (type, str, bytes, int, float, torch.dtype, torch.device)):
            continue
        met[id(one)] = one
        if isinstance(one, Tensor) and not one.is_meta:
            yield here, one
        open_ends += [(f"{here}.{name}", part) for name, part in _parts(one)]


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    match value:
        case Tensor():
            yield from (("grad", value.grad if value.is_leaf else None), ("graph", value.grad_fn), ("base", value._base))
        case Mapping():
            yield from ((str(key), part) for key, part in value.items())
        case list() | tuple() | set() | frozenset():
            yield from ((str(place), part) for place, part in enumerate(value))
        case FunctionType():
            yield from ((f"closure{place}", cell.cell_contents) for place, cell in enumerate(value.__closure__ or ()))
            yield from (("defaults", value.__defaults__), ("defaults", value.__kwdefaults__), ("attributes", vars(value)))
        case MethodType():
            yield from (("self", value.__self__), ("function", value.__func__))
        case functools.partial():
            yield from (("function", value.func), ("arguments", value.args), ("keywords", value.keywords))
        case torch.autograd.graph.Node():
            yield from (("next", node) for node, _ in value.next_functions)
            yield from _saved(value)
        case nn.Module():
            yield "module", vars(value)
        case _:
            slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
            yield from ((name, getattr(value, name)) for name in slots if hasattr(value, name))
            yield from getattr(value, "__dict__", {}).items()


def _saved(node: object) -> Iterator[tuple[str, object]]:
    for name in dir(node):
        if name == "variable" or name.startswith("_saved_"):
            with contextlib.suppress(RuntimeError):  # a graph that was used up has freed them
                yield name, getattr(node, name)


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _holds(tensor: Tensor, examples: Tensor) -> bool:
    size = examples.shape[1]
    if not tensor.is_floating_point() or tensor.numel() % size:
        return False
    rows = tensor.detach().reshape(-1, size).to(examples)
    return any(bool((rows == example).all(dim=1).any()) for example in examples)
