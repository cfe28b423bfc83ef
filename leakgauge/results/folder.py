"""The folder of one audit: its record, and its images.

record.json            the record, plain JSON
tensors.safetensors    its images: "truth", where it is there, and "guess.TRIAL" for every trial
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from leakgauge.auditing.record import Record
from leakgauge.core.errors import UsageError
from leakgauge.core.private import FOLDER
from leakgauge.results.soundness import GUESS, TRUTH, faults, misfits

if TYPE_CHECKING:
    from leakgauge.auditing.outcome import Images

RECORD, TENSORS = "record.json", "tensors.safetensors"


def read_record(folder: Path, key: str) -> Record:
    """Read the record of an audit. Raises UsageError if it is missing, damaged, of another format, or none that an audit writes."""
    path = folder / RECORD
    try:
        record = adapter().validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise damaged(path, reason(error)) from error
    for fault in faults(record):
        raise damaged(path, fault)
    if record.key != key:
        raise UsageError(f"{path}: holds the audit {record.key!r}, expected {key!r}; give the folder its name back")
    return record


def read_images(folder: Path, key: str) -> dict[str, NDArray[np.float32]]:
    """Read the images of an audit. Raises UsageError as `read_record` does, and, before any is read, where they do not fit it."""
    path, record = folder / TENSORS, read_record(folder, key)
    try:
        with safe_open(path, framework="numpy") as file:
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            headers = {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in found.items()}
            for fault in misfits(record, headers):
                raise damaged(path, fault)
            return {name: file.get_tensor(name) for name in headers}
    except (OSError, SafetensorError) as error:
        raise damaged(path, reason(error)) from error


def write(folder: Path, record: Record, images: Images | None) -> None:
    """Write an audit into a new folder, so that it outlives a loss of power. Raises OSError and SafetensorError."""
    folder.mkdir(FOLDER)
    write_bytes(folder / RECORD, adapter().dump_json(record, indent=2))
    save_file(_tensors(images), folder / TENSORS)
    sync(folder / TENSORS)
    sync(folder)


def _tensors(images: Images | None) -> dict[str, NDArray[Any]]:
    if images is None:
        return {}
    found = {} if images.truth is None else {TRUTH: images.truth}
    found |= {GUESS + name: x for name, x in images.guesses.items()}
    return {name: np.ascontiguousarray(value.detach().numpy()) for name, value in found.items()}


@cache
def adapter() -> TypeAdapter[Record]:
    """What reads and writes records."""
    return TypeAdapter(Record)


def record_schema() -> dict[str, Any]:
    """The JSON Schema of `record.json`."""
    return adapter().json_schema(mode="serialization")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, down to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Make what was written outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def damaged(path: Path, why: str) -> UsageError:
    """What to raise for a file that is not what an audit wrote."""
    return UsageError(f"{path}: cannot be read ({why}), expected what an audit wrote; delete the folder and run the audit again")


def reason(error: Exception) -> str:
    """What went wrong, in a few words."""
    match error:
        case ValidationError():
            first = error.errors(include_url=False)[0]
            return " ".join([".".join(map(str, first["loc"])), first["msg"]]).strip()
        case OSError(strerror=str() as text):
            return text
        case _:
            return str(error).splitlines()[0]
