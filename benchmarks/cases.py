"""What the benchmarks share: settings, images, and one update of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Pool, Victim
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Observation, ThreatModel
from leakgauge.data.arrays import Npz
from leakgauge.metrics.psnr import PSNR
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet18

NETS: dict[str, Victim] = {"LeNet": LeNet(), "ConvNet-64": ConvNet(width=64), "ResNet-18": resnet18()}


@final
@dataclass(frozen=True)
class Settings:
    """What the command line sets. None: what the benchmark takes."""

    data: Path | None = None
    images: int | None = None
    steps: int | None = None
    nets: tuple[str, ...] = ()

    def among(self, nets: Mapping[str, Victim]) -> Mapping[str, Victim]:
        """Return the networks that are asked for, or all. Raises UsageError for one that is not there."""
        if unknown := [name for name in self.nets if name not in nets]:
            raise UsageError(f"--nets: {', '.join(unknown)} not here, expected some of {', '.join(nets)}")
        return {name: net for name, net in nets.items() if not self.nets or name in self.nets}

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


def case(pool: Pool, index: int, victim: Victim, threat: ThreatModel, size: int = 1) -> Case:
    """Return the gradient of `size` images from `index` on, on fresh weights; the index is also the seed of the weights."""
    secret = Batch(pool.x[index : index + size], pool.y[index : index + size])
    model = victim.build(pool.inputs, rng=stream(index, "victim"))
    return Case(secret, observe(model, secret, client=FedSGD(), threat=threat, rng=stream(index, "client")))


def psnr(guess: Batch, secret: Batch) -> float:
    return float(PSNR()(guess.x, secret.x))
