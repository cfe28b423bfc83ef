"""Losses and slopes: each candidate by itself, or all through one computation that keeps them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from leakgauge.core.abilities import Descending, Descents
from leakgauge.core.differentiation import slopes
from leakgauge.core.protocols import Objective, Point


def descents(objective: Objective | Descending, points: Point) -> Descents:
    """Return losses and slopes at each of n points, whose tensors are stacked, in the way that the objective has for it."""
    return objective.descents(points) if isinstance(objective, Descending) else one_by_one(objective, points)


def one_by_one(objective: Objective, points: Point) -> Descents:
    """Return the same by reverse differentiation of each loss: the oracle of every other way."""
    count = len(next(iter(points.values())))
    rows = [together(objective, row_of(points, row)) for row in range(count)]
    return stacked(rows)


def together(losses: Callable[[Point], Tensor], points: Point) -> Descents:
    """Return the same from a loss, or from losses [n] of which each depends on its own point alone."""
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in points.items()}
        found = losses(leaves)
        return Descents(found.detach(), dict(zip(leaves, slopes(found.sum(), list(leaves.values())), strict=True)))


def row_of(points: Point, row: int) -> Point:
    """Return one of the points that are stacked."""
    return {name: value[row] for name, value in points.items()}


def stacked(rows: Sequence[Descents]) -> Descents:
    """Return what was found at each point as one."""
    return Descents(torch.stack([row.losses for row in rows]), stacked_points([row.slopes for row in rows]))


def each_row(change: Callable[[Point], Point], points: Point) -> Point:
    """Return stacked points after a change of each."""
    return stacked_points([change(row_of(points, row)) for row in range(len(next(iter(points.values()))))])


def stacked_points(rows: Sequence[Point]) -> Point:
    """Return points as one, whose tensors are stacked."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
