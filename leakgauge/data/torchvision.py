"""A data set of torchvision that lies on this machine already."""

from __future__ import annotations

from typing import Any, final

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import MissingExtra, UsageError, one_line, suggestion
from leakgauge.core.protocols import Pool
from leakgauge.data.pools import Mode, check_size, labels, numbered, picture, pool, stack


@final
@algorithm
class Torchvision:
    """The images of `torchvision.datasets.<dataset>(root, train=train)`; nothing is downloaded. `size` and `mode` as in Folder."""

    root: str
    dataset: str = "CIFAR10"
    train: bool = False
    size: Count | None = None
    mode: Mode = "RGB"

    def __post_init__(self) -> None:
        check_size("Torchvision.size", self.size)

    def load(self) -> Pool:
        """Return all examples. Raises MissingExtra without torchvision, UsageError where the data set is unknown or not there."""
        source = self._open()
        pictures, classes = [], []
        for index in range(len(source)):
            image, label = source[index]
            where = f"{self.dataset}[{index}]"
            pictures.append((where, picture(image, where, mode=self.mode, size=self.size)))
            classes.append(label)
        x, y = stack(pictures), labels(f"torchvision.dataset: {self.dataset}", classes)
        names = getattr(source, "classes", None) or numbered("torchvision", int(y.max()) + 1)
        return pool(x, y, [str(name) for name in names])

    def _open(self) -> Any:
        try:
            from torchvision import datasets
        except (ImportError, RuntimeError) as error:  # next to another build of torch its import is a RuntimeError
            raise MissingExtra("the torchvision data set", "torchvision") from error
        if self.dataset not in datasets.__all__:
            raise UsageError(f"torchvision.dataset: got {self.dataset!r}, {suggestion(self.dataset, datasets.__all__)}")
        try:
            return getattr(datasets, self.dataset)(root=self.root, train=self.train, download=False)
        except (RuntimeError, OSError) as error:
            raise UsageError(
                f"torchvision.root: {self.dataset} is not in {self.root!r} ({one_line(error)}), expected it there; download it"
            ) from error
        except TypeError as error:
            raise UsageError(
                f"torchvision.dataset: {self.dataset!r} is no classification data set with a train and a test part "
                f"({one_line(error)}), expected one such as CIFAR10; use folder or npz"
            ) from error
