"""breaching 0.1.2 (Geiping et al.), the reference implementation of Inverting Gradients, on our models and updates."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, final

import torch
from torch import nn

from leakgauge.core.errors import UsageError
from leakgauge.core.rng import normal_like
from leakgauge.core.types import Batch, Model, Observation, Rng

BREACHING_VARIATION = 0.2
"""The weight of total variation in breaching's own configuration."""


def equal_variation(side: int) -> float:
    """Our weight of total variation that pulls as much as breaching's does on images of `side` x `side` pixels.

    breaching sums |dx| + |dy| over all pixels and divides by their number; we divide by the number of neighbors, which is
    smaller by (side - 1) / side. Theirs also counts, along the right and lower border, the distance to normalized 0.
    """
    return BREACHING_VARIATION * (side - 1) / side


@final
class InvertingGradients:
    """breaching's attack "invertinggradients" as configured by its authors, but for the number of steps."""

    def __init__(self, seen: Observation, *, steps: int) -> None:
        breaching = _breaching()
        model = seen.model
        net = as_module(model)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            config = breaching.get_attack_config("invertinggradients", [f"optim.max_iterations={steps}"])
            setup = {"dtype": torch.float, "device": _device(model)}
            self._attacker = breaching.attacks.prepare_attack(net, nn.CrossEntropyLoss(), config, setup)
        self._model = model
        self._payload = {
            "parameters": [value.detach() for value in net.parameters()],
            "buffers": list(net.buffers()),
            "metadata": SimpleNamespace(
                modality="vision",
                shape=model.inputs.shape,
                classes=model.inputs.classes,
                mean=model.inputs.mean,
                std=model.inputs.std,
            ),
        }
        self._count = seen.count
        self._shared: dict[str, Any] = {
            "gradients": [seen.update.delta[name] for name, _ in net.named_parameters()],
            "buffers": None,
            "metadata": {"num_data_points": self._count, "labels": seen.labels, "local_hyperparams": None},
        }

    def run(self, rng: Rng, on_step: Callable[[], None] = lambda: None) -> Batch:
        """Return the guess in pixels; `on_step` is called as each step begins."""
        start = normal_like(torch.empty(self._count, *self._model.inputs.shape, device=_device(self._model)), rng)
        hook = self._attacker.objective.register_forward_pre_hook(lambda *_: on_step())
        with hook, warnings.catch_warnings(action="ignore"):
            found, _ = self._attacker.reconstruct([self._payload], [self._shared], {}, initial_data=start)
        return Batch(self._model.inputs.denormalize(found["data"].detach()), found["labels"])

    def mismatch(self, batch: Batch) -> float:
        """Return breaching's cosine objective at a batch: 0 at the truth."""
        models, _, _ = self._attacker.prepare_attack([self._payload], [self._shared])
        self._attacker.objective.initialize(self._attacker.loss_fn, self._attacker.cfg.impl, None)
        value, _ = self._attacker.objective(models[0], self._shared["gradients"], self._model.inputs.normalize(batch.x), batch.y)
        return float(value.detach())


def as_module(model: Model) -> nn.Module:
    """Return a model as an ordinary module that holds its weights, in evaluation mode; its inputs are normalized pixels."""
    net = copy.deepcopy(model.net).to_empty(device=_device(model))
    net.load_state_dict({**model.params, **model.buffers})
    return net.eval()


def _device(model: Model) -> torch.device:
    return next(iter(model.params.values())).device


def is_installed() -> bool:
    """Return whether breaching can be compared with."""
    return find_spec("breaching") is not None


def _breaching() -> Any:
    try:
        import_torchvision()
        import breaching
    except ImportError as error:
        raise UsageError(f"benchmarks: {error.name} is not installed, expected breaching 0.1.2; see docs/benchmarks.md") from error
    return breaching


def import_torchvision() -> None:
    """Import torchvision, that of another torch as well."""
    try:
        import torchvision
    except RuntimeError:
        # A wheel of torchvision built for another torch has no compiled operators and stumbles over their absence; breaching
        # uses none of them, so a declaration is enough.
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
