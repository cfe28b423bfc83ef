"""A victim of your own: the network that a function makes, or a library has under a name, with weights from a file."""

from __future__ import annotations

from dataclasses import replace
from typing import final

from torch.nn.functional import cross_entropy

from leakgauge.core.adopting import adopted, with_weights
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.snapshots import snapshot
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.sources import network, normalization


@final
@algorithm
class Module:
    """The network at `module`, with the weights at `weights`, or fresh ones.

    `module` is `package.module:name` of a class or a function that makes the network without arguments, or with the number of
    classes; or `torchvision:NAME`, `timm:NAME` or `hf:FOLDER`. `weights` is what `snapshot` reads: .safetensors, .npz, or a state
    dict that torch has saved. `mean` and `std`, per channel of pixels from 0 to 1, are those by which pixels are normalized for the
    network; without them, they are what a library says (`pretrained_cfg` of timm, preprocessor_config.json in a folder), or else
    the data's own. The loss is cross-entropy.
    """

    module: str
    weights: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return the model. Raises UsageError for what makes no network, and for weights of another one."""
        made = network(self.module, inputs.classes, rng)
        mean, std = normalization(self.module, made) or (inputs.mean, inputs.std)
        mean, std = self.mean or mean, self.std or std
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, inputs.shape[0]):
                raise UsageError(
                    f"module.{name}: got {len(values)} numbers, expected {inputs.shape[0]}, one for each channel; or one"
                )
        seen = replace(inputs, mean=mean, std=std)
        model = replace(made, inputs=seen) if isinstance(made, Model) else adopted(made, seen, cross_entropy)
        if self.weights is None:
            return model
        where = "module.weights"
        return with_weights(model, snapshot(where, self.weights, list(model.net.state_dict())), where)
