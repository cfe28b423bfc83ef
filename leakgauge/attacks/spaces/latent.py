"""The space of a generator's codes: whatever the search finds is an image that the generator makes (GGL, Li et al., CVPR 2022).

A search may go on behind any of the generator's blocks, in the maps that the code became, where more images can be made and fewer
of them are likely (GIAS, Jeon et al., NeurIPS 2021, arXiv 2110.14962; GIFD, Fang et al., ICCV 2023, arXiv 2308.04699).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import functional

from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Space
from leakgauge.core.rng import normal_like
from leakgauge.core.types import Inputs, Observation, Rng
from leakgauge.generative.generators import files
from leakgauge.generative.generators.fingerprints import learned_from
from leakgauge.generative.generators.generator import Features, Generator, images, through

_TINY = 1e-10


@final
@algorithm
class Latent:
    """Codes of a generator, one an example, started from "normal" numbers or from "zero"; a label is granted or inferred first.

    `generator` is the name of one that comes along or a file; None is the one that comes along for images of this shape. The code
    z of an example costs `weight` times, for "kl", R1 = -(1 + log s^2 - m^2 - s^2) / 2 with the mean m and the deviation s of its
    k numbers, for "norm", R2 = (|z|^2 - k)^2 (GGL, Sec. 3.3), and for "density", |z|^2 / 2, the -log p(z) of the Bayes rule: beside
    squared errors under noise of deviation sigma, its weight is 2 sigma^2. `resize` brings the generator's images to the model's
    size, by area. Where the generator knows classes, they have to be the model's, in the same order.
    """

    generator: str | None = None
    regularizer: Literal["kl", "norm", "density", "none"] = "kl"
    weight: NonNegative = 0.1
    start_from: Literal["normal", "zero"] = "normal"
    resize: bool = False

    def start(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return codes [count, latent]. Raises UsageError for a generator that is missing or does not fit the model."""
        z = self.draw(seen, count, rng=rng)
        return z if self.start_from == "normal" else torch.zeros_like(z)

    def draw(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return standard normal codes [count, latent]. Raises as `start`."""
        like = next(iter(seen.update.delta.values()))
        return normal_like(like.new_zeros(count, self.fitting(seen.model.inputs).latent), rng)

    def decode(self, point: Tensor, seen: Observation, /) -> Tensor:
        """Return pixels; of a generator that knows classes, those of an even mixture of all of them (see `given`)."""
        return self.given(None).decode(point, seen)

    def project(self, point: Tensor, seen: Observation, /) -> Tensor:
        """Return the point: every code is allowed."""
        return point

    def given(self, labels: Tensor | None, /) -> Coded:
        """Return the space of images of these labels, [n] or [n, classes]."""
        return Coded(self, labels)

    def deeper(self, point: Tensor, seen: Observation, /, *, radius: float) -> tuple[Space, Tensor] | None:
        """Return the space behind the generator's first block (see `Coded`)."""
        return self.given(None).deeper(point, seen, radius=radius)

    def knows(self, x: Tensor, inputs: Inputs, /) -> Tensor:
        """Return [n], whether the generator has learned from an example, or from its mirror image; as far as its file says."""
        generator = self.fitting(inputs)
        if generator.shape != inputs.shape:
            return torch.zeros(len(x), dtype=torch.bool)
        return learned_from(generator.learned, (x - inputs.low) / (inputs.high - inputs.low))

    def fitting(self, inputs: Inputs) -> Generator:
        """Return the generator. Raises UsageError for one that is missing, or makes no images for these inputs."""
        found = files.load("latent.generator", files.find("latent.generator", self.generator or _shipped(inputs)))
        is_same = found.shape == inputs.shape
        if not is_same and not (self.resize and len(inputs.shape) == 3 and found.shape[0] == inputs.shape[0]):
            raise UsageError(
                f"latent.generator: {self.generator or _shipped(inputs)} makes images of shape {found.shape}, expected "
                f"{tuple(inputs.shape)} as the model takes; choose another, train one (leakgauge prior train), or set resize: true "
                "where only the size differs"
            )
        if found.classes not in (0, inputs.classes):
            raise UsageError(
                f"latent.generator: {self.generator} knows {found.classes} classes, expected {inputs.classes} as the model does; "
                "choose one of the same classes, or one that knows none"
            )
        return found

    def energy(self, z: Tensor) -> Tensor:
        """Return the cost of each code [n, k]: [n]."""
        if self.regularizer == "none":
            return z.new_zeros(len(z))
        if self.regularizer == "norm":
            return self.weight * (z.square().sum(dim=1) - z.shape[1]).square()
        if self.regularizer == "density":
            return 0.5 * self.weight * z.square().sum(dim=1)
        mean, variance = z.mean(dim=1), z.var(dim=1, correction=0)
        return -0.5 * self.weight * (1 + (variance + _TINY).log() - mean.square() - variance)


@final
@dataclass(frozen=True)
class Coded:
    """What `Latent` is once the labels are known, behind the generator's block `depth`: 0 is the code itself."""

    latent: Latent
    labels: Tensor | None
    depth: int = 0
    style: Tensor | None = None  # what later blocks are told beside the maps
    radius: float | None = None  # behind a block: how far maps may move, as a mean over their numbers
    center: Tensor | None = None

    def start(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return codes at depth 0, and maps deeper down, where the search began."""
        return self.latent.start(seen, count, rng=rng) if self.center is None else self.center

    def draw(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return codes by chance."""
        return self.latent.draw(seen, count, rng=rng)

    def decode(self, point: Tensor, seen: Observation, /) -> Tensor:
        """Return pixels."""
        inputs = seen.model.inputs
        generator = self.latent.fitting(inputs).to(point)
        made = images(generator, point, self._shares(point, seen)) if self.depth == 0 else self._behind(generator, point)
        return _fitted(made, inputs)

    def project(self, point: Tensor, seen: Observation, /) -> Tensor:
        """Return the point; behind a block, the nearest maps in the ball around those that the search began with."""
        if self.center is None or self.radius is None:
            return point
        return self.center + in_ball(point - self.center, self.radius)

    def energy(self, point: Tensor) -> Tensor:
        """Return the cost of each example's code; maps have none."""
        return self.latent.energy(point) if self.depth == 0 else point.new_zeros(len(point))

    def deeper(self, point: Tensor, seen: Observation, /, *, radius: float) -> tuple[Space, Tensor] | None:
        """Return the space behind the next block, and the same images in it; None where the next one makes pixels."""
        generator = self.latent.fitting(seen.model.inputs).to(point)
        if self.depth >= generator.blocks - 1:
            return None
        with torch.no_grad():
            entering = Features(point, self.style) if self.depth else generator.enter(point, self._shares(point, seen))
            maps, style = through(generator, entering, self.depth, self.depth + 1)
        return replace(self, depth=self.depth + 1, style=style, radius=radius, center=maps), maps

    def _behind(self, generator: Generator, point: Tensor) -> Tensor:
        return through(generator, Features(point, self.style), self.depth).maps

    def _shares(self, point: Tensor, seen: Observation) -> Tensor | None:
        """Labels as shares [n, classes], of ones that are not known equal ones; None where the generator knows no classes."""
        inputs = seen.model.inputs
        if not self.latent.fitting(inputs).classes:
            return None
        if self.labels is None:
            return point.new_full((len(point), inputs.classes), 1 / inputs.classes)
        shares = self.labels if self.labels.is_floating_point() else functional.one_hot(self.labels.long(), inputs.classes)
        return shares.to(point)


def in_ball(moves: Tensor, radius: float) -> Tensor:
    """Return the nearest [n, ...] whose absolute numbers have a mean of at most `radius`, example by example.

    The projection onto the ball of the L1 norm (Duchi et al., ICML 2008, Fig. 1).
    """
    sizes = moves.flatten(1).abs()
    limit = radius * sizes.shape[1]
    ordered = sizes.sort(dim=1, descending=True).values
    excess = (ordered.cumsum(dim=1) - limit) / torch.arange(1, sizes.shape[1] + 1, device=sizes.device)
    count = (ordered > excess).sum(dim=1, keepdim=True).clamp_min(1)
    cut = torch.where(sizes.sum(dim=1, keepdim=True) > limit, excess.gather(1, count - 1), 0).clamp_min(0)
    return (moves.flatten(1).sign() * (sizes - cut).clamp_min(0)).reshape(moves.shape)


def _fitted(made: Tensor, inputs: Inputs) -> Tensor:
    """Images in [0, 1] at the size and in the range of a model's inputs."""
    if made.shape[1:] != inputs.shape:
        made = functional.interpolate(made, size=inputs.shape[1:], mode="area")
    return inputs.low + (inputs.high - inputs.low) * made


def _shipped(inputs: Inputs) -> str:
    """The name of the generator that comes along for these inputs. Raises UsageError where none does."""
    names = {(1, 28, 28): "gray", (3, 32, 32): "color"}
    if inputs.shape not in names:
        raise UsageError(
            f"latent.generator: got none, and none comes along for images of shape {tuple(inputs.shape)}, expected a file; "
            "train one with leakgauge prior train"
        )
    return names[inputs.shape]
