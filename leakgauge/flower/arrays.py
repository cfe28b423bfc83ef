"""Tensors out of Flower's array records and into them."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

from leakgauge.core.errors import UsageError, one_line
from leakgauge.core.types import Params


def tensors(record: ArrayRecord) -> Params:
    """Return the tensors of an array record by name. They lie in the record's memory, and must not be written to.

    Raises UsageError for bytes that are no array of numbers.
    """
    found = {}
    for name, array in record.items():
        try:
            found[name] = _tensor(array)
        except (ValueError, TypeError, EOFError, OverflowError, SyntaxError) as error:  # as NumPy's reader raises
            told = f"arrays: {name[:60]!r} cannot be read ({one_line(error)}), expected numbers as NumPy writes them; send tensors"
            raise UsageError(told) from error
    return found


def _tensor(array: Array) -> Tensor:
    """What an array holds, in place where it lies as NumPy's format 1 in C order: a copy takes longer than clipping does."""
    file = io.BytesIO(array.data)
    if array.stype == "numpy.ndarray" and np.lib.format.read_magic(file) == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if not (is_fortran or dtype.hasobject):
            values = np.frombuffer(array.data, dtype, offset=file.tell(), count=math.prod(shape)).reshape(shape)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that bytes cannot be written to
                return torch.from_numpy(values)
    return torch.from_numpy(array.numpy())


def record_of(values: Mapping[str, Tensor]) -> ArrayRecord:
    """Return tensors as Flower writes them, byte for byte, with one copy of each: its own way there takes several."""
    return ArrayRecord({name: _array(value.detach().cpu().contiguous().numpy()) for name, value in values.items()})


def _array(value: np.ndarray) -> Array:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(value))
    data = b"".join((head.getvalue(), value.reshape(-1).view(np.uint8).data))
    return Array(dtype=str(value.dtype), shape=value.shape, stype="numpy.ndarray", data=data)
