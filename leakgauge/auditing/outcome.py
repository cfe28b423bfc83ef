"""What comes of an audit: a record, and the images that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from leakgauge.auditing.record import Record
from leakgauge.core.types import Inputs


@final
@dataclass(frozen=True)
class Images:
    """What a report shows: each [n, *shape] on the CPU, guesses in the order of the truths they were matched to.

    Pixels are in [0, 1], whatever range the model takes. `truth` is None where nobody has the private examples.
    """

    truth: Tensor | None
    guesses: Mapping[str, Tensor]  # trial -> pixels


@final
@dataclass(frozen=True)
class Outcome:
    """A record with the images that belong to it."""

    record: Record
    images: Images


def unit(x: Tensor, inputs: Inputs) -> Tensor:
    """Pixels in [0, 1] on the CPU, whatever range a model takes; what lies outside goes to its end, what is no number is nan."""
    x = x.detach().cpu().float()
    return torch.where(x.isfinite(), ((x - inputs.low) / (inputs.high - inputs.low)).clamp(0, 1), torch.nan)
