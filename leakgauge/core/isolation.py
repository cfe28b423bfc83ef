"""Copies of a model's code that share nothing with it: what a network remembers of a forward pass stays where that was run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import CellType, FunctionType
from typing import TypeVar

import torch
from torch import Tensor, nn

from leakgauge.core.errors import UsageError
from leakgauge.core.guarding import told
from leakgauge.core.types import Model

Code = TypeVar("Code")


def isolated(model: Model) -> Model:
    """Return the model with a network and a loss of its own.

    Unlike `copy.deepcopy`, this copies what functions have closed over as well (forward hooks, wrappers), and blanks tensors that
    hang on a graph, which are left over from some forward pass. Raises UsageError for a network that cannot be copied.
    """
    net, loss = copied((model.net, model.loss))
    return replace(model, net=net, loss=loss)


def copied(code: Code) -> Code:
    """Return a copy of a network, a loss, or a tuple of such. Raises UsageError where there is none."""
    memo: dict[int, object] = {}
    functions: list[FunctionType] = []
    for value in _reachable(code):
        if isinstance(value, FunctionType) and value.__closure__:
            functions.append(value)
            memo[id(value)] = _hollow(value)
        elif isinstance(value, Tensor) and value.grad_fn is not None:
            memo[id(value)] = torch.zeros_like(value, requires_grad=False)
    try:
        for function in functions:
            _fill(memo[id(function)], function, memo)
        return copy.deepcopy(code, memo)
    except Exception as error:
        raise UsageError(
            f"model: cannot be copied, {told(error)}, expected one that can, so that the adversary's has not seen the secret; "
            "remove its hooks, and what it holds beside tensors and numbers"
        ) from error


def _hollow(function: FunctionType) -> FunctionType:
    """The function with cells of its own, still empty, since they may lead back to what holds the function."""
    cells = tuple(CellType() for _ in function.__closure__ or ())
    twin = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__dict__.update(function.__dict__)
    return twin


def _fill(twin: object, function: FunctionType, memo: dict[int, object]) -> None:
    assert isinstance(twin, FunctionType)
    for cell, own in zip(function.__closure__ or (), twin.__closure__ or (), strict=True):
        own.cell_contents = copy.deepcopy(cell.cell_contents, memo)


def _reachable(code: object) -> Iterator[object]:
    """What is reached through modules, containers and closures."""
    met: dict[int, object] = {}
    open_ends = [code]
    while open_ends:
        value = open_ends.pop()
        if id(value) in met:
            continue
        met[id(value)] = value
        yield value
        if isinstance(value, nn.Module):
            open_ends += vars(value).values()
        elif isinstance(value, Mapping):
            open_ends += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            open_ends += value
        elif isinstance(value, FunctionType):
            open_ends += [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a name that was never bound
        return False
