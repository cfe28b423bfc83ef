"""A generator that takes noise away step by step: a diffusion model, sampled without chance (DDIM, Song et al., ICLR 2021).

arXiv 2010.02502, Eq. 12 with sigma 0: the code is the noise that sampling begins with, and a block is a step. Models are those of
the package `diffusers`, from a folder that it has written.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from leakgauge.core.errors import MissingExtra, UsageError, one_line
from leakgauge.generative.generators.generator import Features

INDEX = "model_index.json"
"""The file by which a folder of `diffusers` is told."""
_STEPS = 20
"""Of sampling: each is a pass through the network, and so is its derivative."""


@final
@dataclass(frozen=True)
class Diffusion:
    """A network that predicts noise in images, with the schedule by which it was trained; pixels of its images from 0 to 1."""

    network: Any  # diffusers.UNet2DModel
    schedule: Any  # diffusers.DDIMScheduler, its steps set
    made: Mapping[str, str] = field(default_factory=dict)
    learned: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    @property
    def latent(self) -> int:
        """How many numbers a code has: those of an image."""
        return torch.Size(self.shape).numel()

    @property
    def classes(self) -> int:
        """How many classes it knows; 0 where it knows none."""
        return int(self.network.config.num_class_embeds or 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        side = self.network.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        return self.network.config.in_channels, height, width

    @property
    def blocks(self) -> int:
        """The steps of sampling."""
        return len(self.schedule.timesteps)

    def to(self, like: Tensor) -> Diffusion:
        """Return the generator with its weights where a tensor is, and of its type."""
        own = next(self.network.parameters())
        if own.dtype == like.dtype and own.device == like.device:
            return self
        return replace(self, network=copy.deepcopy(self.network).to(like))

    def enter(self, z: Tensor, labels: Tensor | None) -> Features:
        """Return the noise as an image, and the class: of shares, the largest."""
        return Features(z.reshape(-1, *self.shape), None if labels is None else labels.argmax(dim=1))

    def block(self, index: int, features: Features) -> Features:
        """Return the image with less noise, and pixels from 0 to 1 behind the last step."""
        time = self.schedule.timesteps[index]
        noise = self.network(features.maps, time, class_labels=features.style).sample
        maps = self.schedule.step(noise, time, features.maps, eta=0.0).prev_sample
        return Features((maps.clamp(-1, 1) + 1) / 2 if index == self.blocks - 1 else maps, features.style)


def load(key: str, folder: Path) -> Diffusion:
    """Read a model from a folder that `diffusers` has written, its `unet` and `scheduler`; no code in it is run.

    Raises MissingExtra without the package, and UsageError for a folder that holds no such model.
    """
    try:
        from diffusers import DDIMScheduler, UNet2DModel
    except ImportError as error:
        raise MissingExtra("a diffusion model as a generator", "diffusion") from error
    try:
        network = UNet2DModel.from_pretrained(folder / "unet", local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False)
        schedule = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        cause = one_line(error)
        raise UsageError(
            f"{key}: {folder} holds no diffusion model ({cause}), expected a pipeline of diffusers with a UNet2DModel as unet and "
            "a scheduler; save it with save_pretrained"
        ) from error
    schedule.set_timesteps(min(_STEPS, schedule.config.num_train_timesteps))
    return Diffusion(network.eval().requires_grad_(False), schedule, {"read from": folder.name})
