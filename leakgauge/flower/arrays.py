"""Tensors out of Flower's array records and into them."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from functools import lru_cache

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
    """What an array holds, in place where it lies as this module writes it: a copy takes longer than clipping does."""
    shape = tuple(array.shape)
    header = _header(array.dtype, shape) if array.stype == "numpy.ndarray" and array.dtype in _PLAIN else None
    if header is None or not array.data.startswith(header):
        return torch.from_numpy(array.numpy())
    values = np.frombuffer(array.data, array.dtype, count=math.prod(shape), offset=len(header)).reshape(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that bytes cannot be written to
        return torch.from_numpy(values)


def record_of(values: Mapping[str, Tensor]) -> ArrayRecord:
    """Return tensors as Flower writes them, byte for byte, with one copy of each: its own way there takes several."""
    return ArrayRecord({name: _array(value.detach().cpu().contiguous().numpy()) for name, value in values.items()})


def _array(value: np.ndarray) -> Array:
    dtype = str(value.dtype)
    data = b"".join((_header(dtype, value.shape), value.reshape(-1).view(np.uint8).data))
    return Array(dtype=dtype, shape=value.shape, stype="numpy.ndarray", data=data)


@lru_cache(maxsize=1000)  # to write or parse one takes NumPy longer than a look at all numbers of a small layer
def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """What NumPy writes, as its format 1, in front of numbers in C order."""
    head = io.BytesIO()
    said = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, said)
    return head.getvalue()


_PLAIN = frozenset(
    {"bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"}
)
"""Kinds of numbers whose arrays are taken as they lie."""
