"""How numbers spread around what they would be without chance: densities, each number by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from leakgauge.core.errors import OutOfScope


class Noise(Protocol):
    """The density of the numbers of one tensor around their centers."""

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return the negative log density of every number, in nats."""
        ...


@final
@dataclass(frozen=True)
class Normal:
    """Gaussian noise. What is no chance at all is a narrow one (`is_exact`), of a width that the adversary chooses."""

    sigma: float
    is_exact: bool = False

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return (u - c)^2 / (2 sigma^2), and the logarithm of the norm."""
        return ((seen - center) / self.sigma).square() / 2 + math.log(self.sigma * math.sqrt(2 * math.pi))

    def within(self, limit: Tensor, center: Tensor, /) -> Tensor:
        """Return the negative log probability of at most `limit` in size: the difference of two normal tails."""
        upper, lower = (torch.special.log_ndtr((end - center.abs()) / self.sigma) for end in (limit, -limit))
        surprise: Tensor = -upper - torch.log1p(-(lower - upper).exp().clamp(max=1 - _LEAST))
        return surprise


@final
@dataclass(frozen=True)
class Laplacian:
    """Laplace noise."""

    scale: float

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return |u - c| / scale, and the logarithm of the norm."""
        return (seen - center).abs() / self.scale + math.log(2 * self.scale)

    def within(self, limit: Tensor, center: Tensor, /) -> Tensor:
        """Return the negative log probability of at most `limit` in size: a center within it loses both tails, others keep one."""
        over, under = (center.abs() - limit) / self.scale, (center.abs() + limit) / self.scale
        inside = 1 - (over.clamp(max=0).exp() + (-under).exp()) / 2
        outside = over.clamp_min(0) + math.log(2) - torch.log1p(-(-2 * limit / self.scale).exp().clamp(max=1 - _LEAST))
        return torch.where(over < 0, -inside.clamp_min(_LEAST).log(), outside)


@final
@dataclass(frozen=True)
class Dropped:
    """No chance to be anything but exactly 0."""

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return 0 where the number is 0, infinity elsewhere."""
        return torch.zeros_like(seen).masked_fill(seen != 0, torch.inf)


@final
@dataclass(frozen=True)
class Censored:
    """Noise of which only what exceeds `limit` in size is sent, and 0 for the rest (Tobin, Econometrica 1958)."""

    noise: Normal | Laplacian
    limit: Tensor

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return the noise's own density of what was sent, and the probability of what was not."""
        return torch.where(seen == 0, self.noise.within(self.limit, center), self.noise.surprise(seen, center))


@final
@dataclass(frozen=True)
class Laplacians:
    """The difference of two independent Laplace draws."""

    scale: float

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return -log of (1 + d) exp(-d) / (4 scale), d = |u - c| / scale."""
        size = (seen - center).abs() / self.scale
        return size - torch.log1p(size) + math.log(4 * self.scale)


@final
@dataclass(frozen=True)
class Silent:
    """Noise of which some numbers were lost, whatever they were: where `is_lost`, what was sent says nothing."""

    noise: Noise
    is_lost: Tensor

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return the noise's own density of what was not lost, and 0 for the rest."""
        return torch.where(self.is_lost, 0, self.noise.surprise(seen, center))


@final
@dataclass(frozen=True)
class Rounded:
    """Rounding by chance, without bias, to one of the two nearest multiples of `unit`.

    The probability 1 - |u - c| / unit of a neighbor goes on as its tangent where it would reach 0: a search has to find its way
    from centers that could not have given the number.
    """

    unit: Tensor

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return the negative log probability."""
        left = 1 - (seen - center).abs() / self.unit
        return -left.clamp_min(_EDGE).log() + (_EDGE - left).clamp_min(0) / _EDGE


@final
@dataclass(frozen=True)
class Signed:
    """Nothing but the sign of a number is sent, as if it had Gaussian noise of `width` before."""

    width: Tensor

    def surprise(self, seen: Tensor, center: Tensor, /) -> Tensor:
        """Return the negative log probability of the sign (one-bit probit)."""
        surprise: Tensor = -torch.special.log_ndtr(seen.sign() * center / self.width)
        return surprise


def with_normal(noise: Noise, sigma: float) -> Noise:
    """Return noise with independent Gaussian noise on top. Raises OutOfScope where the sum has no simple density."""
    if isinstance(noise, Dropped) or (isinstance(noise, Normal) and noise.is_exact):
        return Normal(sigma)
    if isinstance(noise, Normal):
        return Normal(math.hypot(noise.sigma, sigma))
    raise _unknown(noise, "Gaussian noise")


def with_laplace(noise: Noise, scale: float) -> Noise:
    """Return noise with independent Laplace noise on top. Raises OutOfScope where the sum has no simple density."""
    if isinstance(noise, Dropped) or (isinstance(noise, Normal) and noise.is_exact):
        return Laplacian(scale)
    raise _unknown(noise, "Laplace noise")


def with_laplaces(noise: Noise, scale: float) -> Noise:
    """Return noise with the difference of two Laplace draws on top. Raises OutOfScope where the sum has no simple density."""
    if isinstance(noise, Normal) and noise.is_exact:
        return Laplacians(scale)
    raise _unknown(noise, "Laplace noise on two snapshots")


def censored(noise: Noise, limit: Tensor) -> Noise:
    """Return noise of which what is at most `limit` in size is set to 0. Raises OutOfScope where that has no simple density."""
    if isinstance(noise, Normal | Laplacian):
        return Censored(noise, limit)
    raise _unknown(noise, "a threshold")


def _unknown(noise: Noise, other: str) -> OutOfScope:
    return OutOfScope(
        f"{other} on top of {type(noise).__name__.lower()} numbers has no density in closed form; choose a likelihood"
    )


_LEAST = 1e-7
"""The least probability that single precision tells from 0."""
_EDGE = 0.01
"""The probability at which rounding goes over to its tangent."""
