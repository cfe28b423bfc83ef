"""PRECODE's architecture: any victim with a variational bottleneck (Scheliga et al., WACV 2022, arXiv 2108.04725, section 4)."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import replace
from typing import final

import torch
from torch import nn

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.anatomy import head
from leakgauge.core.bottleneck import VariationalBottleneck
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.protocols import Victim
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.initialization import initialize
from leakgauge.victims.lenet import LeNet


@final
@algorithm
class Precode:
    """Puts a variational bottleneck of `latent` dimensions before the last linear layer of another victim.

    The other weights are those that the victim has without it. By itself the model takes the mean of the bottleneck, also where
    it is trained before an audit; the noise, and the divergence in the loss, come from the client: the defense `precode`.
    """

    victim: Victim = LeNet()
    latent: Count = 256

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model. Raises UsageError for a victim whose last layer is not linear with an output a class."""
        plain = self.victim.build(inputs, rng=rng)
        try:
            last = head(plain).weight.rpartition(".")[0]
        except OutOfScope as reason:
            raise UsageError(f"Precode.victim: {reason}, expected a linear last layer to put the bottleneck before") from reason
        net = copy.deepcopy(plain.net).to("meta")
        layer = net.get_submodule(last)
        assert isinstance(layer, nn.Linear)
        with torch.device("meta"):
            bottleneck = VariationalBottleneck(layer.in_features, self.latent)
        behind = nn.Sequential(OrderedDict(bottleneck=bottleneck, head=layer))
        if last:
            net.set_submodule(last, behind)
        else:
            net = behind
        path = f"{last}." if last else ""
        own = initialize(bottleneck, inputs, normalize=True, rng=rng)
        params = {_moved(name, path): value for name, value in plain.params.items()}
        params |= {f"{path}bottleneck.{name}": value for name, value in own.params.items()}
        buffers = {**plain.buffers, f"{path}bottleneck.noise": own.buffers["noise"]}
        return replace(
            plain,
            net=net,
            params={name: params[name] for name, _ in net.named_parameters()},
            buffers={name: buffers[name] for name, _ in net.named_buffers()},
        )


def _moved(name: str, path: str) -> str:
    """The name of a parameter when what lay at `path` lies behind the bottleneck."""
    return f"{path}head.{name.removeprefix(path)}" if name.startswith(path) else name
