"""Arithmetic on named tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from leakgauge.core.types import Params


def apply(function: Callable[..., Tensor], *trees: Params) -> dict[str, Tensor]:
    """Apply a function to the tensors of equal name; the names are those of the first tree."""
    first, *rest = trees
    return {name: function(value, *(tree[name] for tree in rest)) for name, value in first.items()}


def detach(tree: Params) -> dict[str, Tensor]:
    """Copy the numbers and leave the graph behind: nothing reachable from the result leads back to its inputs."""
    return {name: value.detach().clone() for name, value in tree.items()}


def flatten(tree: Params) -> Tensor:
    """All numbers in one vector, in the order of the names given."""
    return torch.cat([value.reshape(-1) for value in tree.values()])


def squared_norm(tree: Params) -> Tensor:
    """The sum of all squares, a scalar."""
    return torch.stack([value.square().sum() for value in tree.values()]).sum()


def cosine(tree: Params, other: Params) -> Tensor:
    """The cosine of the angle between two trees as single vectors, over the names of both: a scalar, 0 for a zero vector."""
    names = [name for name in other if name in tree]
    # Squares of very small or large numbers leave the range of the type: both are brought to about 1 by a power of two, exactly.
    small, large = (2.0 ** -_exponent([one[name] for name in names]) for one in (tree, other))
    # One after the other, so that what is as large as a tree need not be held at once where nothing is differentiated.
    pairs = (((tree[name] * small).reshape(-1), (other[name] * large).reshape(-1)) for name in names)
    each = zip(*((torch.dot(a, b), torch.dot(a, a), torch.dot(b, b)) for a, b in pairs), strict=True)
    inner, own, others = (torch.stack(parts).sum() for parts in each)
    squares = own * others
    # The floor keeps the gradient finite where a vector vanishes.
    return inner / squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()


def _exponent(values: list[Tensor]) -> Tensor:
    """The power of two next to the largest magnitude; 0 where all are 0."""
    most = torch.stack([value.detach().abs().amax() for value in values if value.numel()]).amax()
    return torch.where(most > 0, most.frexp().exponent, 0).double()


def fingerprint(tree: Params) -> str:
    """Return 16 hexadecimal digits that tell trees apart by their names, types, shapes and numbers, in whatever order."""
    found = hashlib.sha256()
    for name in sorted(tree):
        value = tree[name].detach().cpu().contiguous()
        found.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        found.update(value.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
