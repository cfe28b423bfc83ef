"""Archives of NumPy arrays (.npz): what they will take is read off their headers, before anything is allocated."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from lzma import LZMAError
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

Array = np.ndarray[Any, np.dtype[Any]]
FAULTS = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    BadZipFile,
    zlib.error,
    NotImplementedError,  # a compression that Python has not
    RuntimeError,  # a password
    KeyError,
    SyntaxError,
    LZMAError,
)
"""What reading a damaged archive raises."""
_SMALL = 1 << 26
_RATIO = 200
"""How many times the size of their file arrays may have, beyond a few: pictures come to 10, blank ones to 1,000."""


def names(path: Path) -> list[str]:
    """Return the names of the arrays in an archive. Raises one of `FAULTS` for what is none."""
    with ZipFile(path) as archive:
        return [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]


def arrays(path: Path, wanted: Iterable[str]) -> Iterator[Array]:
    """Return arrays by name, in the order asked for; objects are never unpickled.

    Raises one of `FAULTS` for an archive that is damaged, for arrays of objects, and for those that are not as large as they say,
    or too large for their file.
    """
    room = max(_SMALL, _RATIO * path.stat().st_size)
    with ZipFile(path) as archive:
        for name in wanted:
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as file:
                size, header = _size(file)
            if size + header != member.file_size:
                raise ValueError(f"{name!r} says it is {size:,} bytes long, and {member.file_size - header:,} are there")
            room -= size
            if room < 0:
                raise ValueError(f"{name!r} unpacks to {size:,} bytes, more than {_RATIO} times the size of its file")
            with archive.open(member) as file:
                yield npy.read_array(file, allow_pickle=False)


def _size(file: Any) -> tuple[int, int]:
    """How many bytes an array says that it takes, and its header does."""
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"format {version} of arrays is not known")
    shape, _, kind = read(file)
    if kind.hasobject:
        raise ValueError("an array holds objects, which are not unpickled")
    size = kind.itemsize
    for side in shape:
        size *= side
    return size, file.tell()
