"""Faces from Labeled Faces in the Wild (Huang et al., UMass technical report 07-49, 2007), the subset in scikit-image."""

from __future__ import annotations

from importlib.resources import files
from typing import final

import numpy as np
import torch

from leakgauge.core.algorithm import algorithm
from leakgauge.core.protocols import Pool
from leakgauge.data.pools import existing_file, pool


@final
@algorithm
class Faces:
    """200 gray images of 25x25 pixels: 100 faces, then 100 patches that show something else."""

    def load(self) -> Pool:
        """Return all 200 examples. Raises UsageError where the installed scikit-image lacks them."""
        path = existing_file("faces", str(files("skimage") / "data" / "lfw_subset.npy"))
        x = torch.from_numpy(np.load(path, allow_pickle=False)).float().unsqueeze(1)
        return pool(x, (torch.arange(len(x)) >= 100).long(), ("face", "other"))
