"""What the benchmarks share: settings, images, and one update of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar, final

import torch

from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Defense, Pool, Victim
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Observation, ThreatModel
from leakgauge.data.arrays import Npz
from leakgauge.metrics.psnr import PSNR
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet18

NETS: dict[str, Victim] = {"LeNet": LeNet(), "ConvNet-64": ConvNet(width=64), "ResNet-18": resnet18()}

_Offered = TypeVar("_Offered")


@final
@dataclass(frozen=True)
class Settings:
    """What the command line sets. None: what the benchmark takes."""

    data: Path | None = None
    images: int | None = None
    steps: int | None = None
    only: tuple[str, ...] = ()

    def among(self, offered: Mapping[str, _Offered]) -> Mapping[str, _Offered]:
        """Return the networks or setups that are asked for, or all. Raises UsageError for one that is not there."""
        if unknown := [name for name in self.only if name not in offered]:
            raise UsageError(f"--only: {', '.join(unknown)} not here, expected some of {', '.join(offered)}")
        return {name: one for name, one in offered.items() if not self.only or name in self.only}

    def pool(self) -> Pool:
        """Return the images. Raises UsageError without a file."""
        if self.data is None:
            raise UsageError(
                "--data: is missing, expected an .npz file with CIFAR-10 images (x: uint8 [N, 32, 32, 3]) and labels (y)"
            )
        return Npz(path=str(self.data)).load()


class Case(NamedTuple):
    """One secret image, and what an adversary sees of it."""

    secret: Batch
    seen: Observation


def case(
    pool: Pool,
    index: int,
    victim: Victim,
    threat: ThreatModel,
    size: int = 1,
    *,
    weights: int | None = None,
    defenses: tuple[Defense, ...] = (),
    device: str | torch.device = "cpu",
) -> Case:
    """Return the gradient of `size` images from `index` on, on fresh weights, whose seed is the index or `weights`."""
    secret = Batch(pool.x[index : index + size], pool.y[index : index + size]).to(device)
    model = victim.build(pool.inputs, rng=stream(index if weights is None else weights, "victim")).to(device)
    return Case(secret, observe(model, secret, client=FedSGD(), defenses=defenses, threat=threat, rng=stream(index, "client")))


def psnr(guess: Batch, secret: Batch) -> float:
    return float(PSNR()(guess.x, secret.x))
