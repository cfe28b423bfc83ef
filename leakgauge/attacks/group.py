"""Group consistency: searches that pull towards their consensus (GradInversion, Yin et al., CVPR 2021, Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, final

import annotated_types as at
import torch
from torch import Tensor

from leakgauge.attacks.engine.descent import descents, each_row, row_of, stacked, stacked_points, together
from leakgauge.core.abilities import Descents
from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.protocols import Found, Objective, Point, Search
from leakgauge.core.types import Rng, Tick


@final
@algorithm
class GroupConsistency:
    """Adds `weight` times the distance of each member from the mean of all members.

    With `register` the members are first shifted, by whole pixels, to where they correlate best with their mean (the paper
    registers by RANSAC flow; a shift is what convolutional networks leave undetermined most).
    """

    members: Annotated[int, at.Ge(2)] = 5
    weight: NonNegative = 0.01
    register: bool = True

    def minimize(
        self,
        search: Search,
        objective: Objective,
        starts: Sequence[Point],
        *,
        project: Callable[[Point], Point],
        goal: float,
        rng: Rng,
        tick: Tick,
    ) -> Found:
        """Search from all starts together; return the member whose own objective is lowest."""

        def joint_project(point: Point) -> Point:
            return each_row(project, point)

        joint = _Joint(objective, self)
        found = search.minimize(joint, stacked_points(starts), project=joint_project, goal=goal * len(starts), rng=rng, tick=tick)
        members = _members(found.point)
        losses = [float(objective(member).detach()) for member in members]
        best = min(range(len(losses)), key=lambda row: losses[row] if losses[row] == losses[row] else torch.inf)
        return Found(members[best], losses[best], found.trace, found.status)

    def penalty(self, members: Tensor) -> Tensor:
        """`weight` times the distance to the consensus, for members [g, n, *shape]; summed over members, mean over examples."""
        offsets = members - self.consensus(members.detach())
        distances: Tensor = torch.linalg.vector_norm(offsets.flatten(2), dim=2)  # [g, n]
        return self.weight * distances.mean(dim=1).sum()

    def consensus(self, members: Tensor) -> Tensor:
        """The mean of the members, shifted onto each other where they are images: [n, *shape]."""
        mean = members.mean(dim=0)
        if not self.register or members.dim() < 5:
            return mean
        return torch.stack([_aligned(member, mean) for member in members]).mean(dim=0)


@final
@dataclass(frozen=True)
class _Joint:
    """The objectives of all members, and their distance from the consensus: a point holds the members, stacked."""

    objective: Objective
    group: GroupConsistency

    def __call__(self, point: Point) -> Tensor:
        own = torch.stack([self.objective(member) for member in _members(point)]).sum()
        return own + self.group.penalty(point["x"])

    def descents(self, points: Point, /) -> Descents:
        return stacked([self._descent(row_of(points, row)) for row in range(len(points["x"]))])

    def _descent(self, point: Point) -> Descents:
        own = descents(self.objective, point)
        apart = together(lambda leaf: self.group.penalty(leaf["x"]), {"x": point["x"]})
        moved = {**own.slopes, "x": own.slopes["x"] + apart.slopes["x"]}
        return Descents(own.losses.sum() + apart.losses, moved)


def _members(point: Point) -> list[Point]:
    return [row_of(point, row) for row in range(len(point["x"]))]


def _aligned(images: Tensor, target: Tensor) -> Tensor:
    """Images [n, c, h, w], each rolled to the peak of its circular cross-correlation with its target."""
    height, width = images.shape[-2:]
    spectrum = torch.fft.rfft2(target) * torch.fft.rfft2(images).conj()
    correlation = torch.fft.irfft2(spectrum, s=(height, width)).sum(dim=1)  # [n, h, w]
    peaks = correlation.flatten(1).argmax(dim=1)
    return torch.stack(
        [image.roll((int(peak) // width, int(peak) % width), dims=(-2, -1)) for image, peak in zip(images, peaks, strict=True)]
    )
