"""A data set of Hugging Face `datasets` that lies on this machine already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import MissingExtra, UsageError, one_line, suggestion
from leakgauge.core.protocols import Pool
from leakgauge.data.pools import Mode, check_size, labels, numbered, picture, pool, stack

_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


@final
@algorithm
class HuggingFace:
    """One split of a data set: the name of one in the local cache, or a folder written by `save_to_disk`.

    `image_key` and `label_key` are the columns; `size` and `mode` as in Folder. Nothing is downloaded.
    """

    path: str
    split: str = "test"
    image_key: str = "image"
    label_key: str = "label"
    size: Count | None = None
    mode: Mode = "RGB"

    def __post_init__(self) -> None:
        check_size("HuggingFace.size", self.size)

    def load(self) -> Pool:
        """Return all examples. Raises MissingExtra without `datasets`, UsageError where the data set or a column is not there."""
        source = self._open()
        columns = list(source.column_names)
        for key, name in (("image_key", self.image_key), ("label_key", self.label_key)):
            if name not in columns:
                raise UsageError(f"huggingface.{key}: got {name!r}, {suggestion(name, columns)}")
        rows = ((f"{self.path}[{index}]", row[self.image_key]) for index, row in enumerate(source))
        x = stack((where, picture(image, where, mode=self.mode, size=self.size)) for where, image in rows)
        y = labels(f"huggingface.label_key: {self.label_key!r} of {self.path}", source[self.label_key])
        names = getattr(source.features[self.label_key], "names", None) or numbered("huggingface", int(y.max()) + 1)
        return pool(x, y, [str(name) for name in names])

    def _open(self) -> Any:
        for variable in _OFFLINE:  # read once, when `datasets` is imported
            os.environ.setdefault(variable, "1")
        try:
            import datasets
        except (ImportError, RuntimeError) as error:
            raise MissingExtra("the huggingface data set", "huggingface") from error
        if not datasets.config.HF_HUB_OFFLINE:
            raise UsageError(
                "huggingface: `datasets` is set to go online, expected HF_HUB_OFFLINE=1; set it before Python starts, "
                "since leakgauge never uses the network"
            )
        local = Path(self.path).expanduser()
        try:
            if (local / "dataset_info.json").is_file():
                return datasets.load_from_disk(str(local))
            if (local / "dataset_dict.json").is_file():
                return datasets.load_from_disk(str(local))[self.split]
            return datasets.load_dataset(str(local) if local.is_dir() else self.path, split=self.split)
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"huggingface.path: no split {self.split!r} of {self.path!r} on this machine ({one_line(error)}), "
                "expected a cached data set or a folder written by save_to_disk; download it first"
            ) from error
