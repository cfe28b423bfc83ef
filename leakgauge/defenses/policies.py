"""The transformation policies of ATS (Gao et al., CVPR 2021, arXiv 2011.12505): up to three transforms in a row, out of fifty.

The library is that of the released code: the transforms of AutoAugment's CIFAR-10 policy (Cubuk et al., CVPR 2019, arXiv
1805.09501, table 7) with levels of their own, each always applied. Amounts rise evenly over ten levels, on scales that are gentler
than AutoAugment's for color, contrast, brightness and sharpness.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.core.errors import UsageError
from leakgauge.core.types import Rng
from leakgauge.defenses import transforms
from leakgauge.defenses.transforms import Transform

_LEVELS = 10


class _Operation(NamedTuple):
    """A transform with its amounts at the lowest and the highest level; `around` for those that go either way by chance."""

    transform: Transform
    low: float
    high: float
    around: float | None = None


_OPERATIONS = {
    "shear_y": _Operation(transforms.shear_y, 0, 0.3, around=0),
    "translate_x": _Operation(transforms.translate_x, 0, 150 / 331, around=0),
    "translate_y": _Operation(transforms.translate_y, 0, 150 / 331, around=0),
    "rotate": _Operation(transforms.rotate, 0, 30),
    "color": _Operation(transforms.color, 0, 0.5, around=1),
    "contrast": _Operation(transforms.contrast, 0, 0.5, around=1),
    "brightness": _Operation(transforms.brightness, 0, 0.5, around=1),
    "sharpness": _Operation(transforms.sharpness, 0, 0.5, around=1),
    "posterize": _Operation(transforms.posterize, 8, 4),
    "solarize": _Operation(transforms.solarize, 256, 0),
    "invert": _Operation(transforms.invert, 0, 0),
    "autocontrast": _Operation(transforms.autocontrast, 0, 0),
    "equalize": _Operation(transforms.equalize, 0, 0),
}

_ROWS = """
invert 7        contrast 6      rotate 2        translate_x 9   sharpness 1
sharpness 3     shear_y 2       translate_y 2   autocontrast 5  equalize 2
shear_y 5       posterize 5     color 3         brightness 5    sharpness 9
brightness 9    equalize 5      equalize 1      contrast 7      sharpness 5
color 5         translate_x 5   equalize 7      autocontrast 8  translate_y 3
sharpness 6     brightness 6    color 8         solarize 0      invert 0
equalize 0      autocontrast 0  equalize 8      equalize 4      color 5
equalize 5      autocontrast 4  solarize 4      brightness 3    color 0
solarize 1      autocontrast 0  translate_y 3   translate_y 3   autocontrast 1
solarize 1      equalize 5      invert 0        translate_y 3   autocontrast 1
"""


class Step(NamedTuple):
    """One entry of the library."""

    operation: str
    level: int


LIBRARY = tuple(Step(name, int(level)) for name, level in zip(_ROWS.split()[::2], _ROWS.split()[1::2], strict=True))
"""What the numbers of a policy stand for, counted from 0."""


def parse(policy: str) -> tuple[tuple[int, ...], ...]:
    """Return the alternatives of a policy such as "3-1-7" or "3-1-7+43-18-18", each as places in the library.

    Raises UsageError for what is no number from 0 to 49.
    """
    alternatives = [part.split("-") for part in policy.split("+")]
    for place in (place for part in alternatives for place in part):
        if not (place.isascii() and place.isdigit() and int(place) < len(LIBRARY)):
            raise UsageError(
                f"policy: got {place!r} in {policy!r}, expected numbers from 0 to {len(LIBRARY) - 1} joined by '-', "
                "alternatives by '+', such as 3-1-7+43-18-18"
            )
    return tuple(tuple(int(place) for place in part) for part in alternatives)


def apply(policy: str, x: Tensor, *, rng: Rng | None) -> Tensor:
    """Transform images [n, c, h, w] in [0, 1]: each by an alternative of its own, and in directions of its own, by chance.

    Without an `rng`, images are at the mean of the alternatives, and of both directions at each transform.
    """
    alternatives = parse(policy)
    if rng is None:
        return torch.stack([_sequence(places, x, None) for places in alternatives]).mean(0)
    draw = [alternatives[int(torch.randint(len(alternatives), (), generator=rng))] for _ in x]
    return torch.cat([_sequence(places, x[row : row + 1], rng) for row, places in enumerate(draw)])


def _sequence(places: tuple[int, ...], x: Tensor, rng: Rng | None) -> Tensor:
    for place in places:
        x = _transformed(LIBRARY[place], x, rng)
    return x


def _transformed(step: Step, x: Tensor, rng: Rng | None) -> Tensor:
    transform, low, high, around = _OPERATIONS[step.operation]
    amount = low + (high - low) * step.level / (_LEVELS - 1)
    if around is None:
        return transform(x, amount)
    if rng is None:
        return (transform(x, around + amount) + transform(x, around - amount)) / 2
    return transform(x, around + amount * (2 * int(torch.randint(2, (), generator=rng)) - 1))
