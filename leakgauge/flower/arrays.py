"""Tensors out of Flower's array records and into them."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord
from torch import Tensor

from leakgauge.core.types import Params


def tensors(record: ArrayRecord) -> Params:
    """Return the tensors of an array record by name."""
    found: Params = record.to_torch_state_dict()
    return found


def record_of(values: Mapping[str, Tensor]) -> ArrayRecord:
    """Return tensors as Flower writes them, byte for byte, with one copy of each: its own way there takes several."""
    return ArrayRecord({name: _array(value.detach().cpu().contiguous().numpy()) for name, value in values.items()})


def _array(value: np.ndarray) -> Array:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(value))
    data = b"".join((head.getvalue(), value.reshape(-1).view(np.uint8).data))
    return Array(dtype=str(value.dtype), shape=value.shape, stype="numpy.ndarray", data=data)
