"""Captures as folders: written whole or not at all, read without running or trusting anything in them."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from leakgauge.capture.manifest import Manifest, parsed
from leakgauge.core.errors import UsageError, one_line
from leakgauge.core.intake import as_kept
from leakgauge.core.types import Batch, Params

MANIFEST, BEFORE, SENT, TRUTH = "capture.json", "before.safetensors", "sent.safetensors", "truth.safetensors"
LARGEST_MANIFEST = 2**20
"""Bytes; beyond them no `capture.json` is read."""


@final
@dataclass(frozen=True)
class Capture:
    """One exchange as it was recorded. Tensors have the names, the kinds of numbers and the sign that they were sent with."""

    path: Path
    manifest: Manifest
    sent: Params
    before: Params | None = None  # the weights that local training started from
    truth: Batch | None = None  # the private examples: pixels, and classes


def write(
    folder: str | Path,
    manifest: Manifest,
    sent: Mapping[str, Tensor],
    before: Mapping[str, Tensor] | None = None,
    truth: Batch | None = None,
) -> Path:
    """Write a capture into a new folder below `folder`, and return its path; nothing that is there is touched.

    What is written is readable by its owner alone. Raises UsageError for tensors that no file can hold, and where the disk refuses.
    """
    root = Path(folder)
    parts = {SENT: sent, BEFORE: before, TRUTH: None if truth is None else {"x": truth.x, "y": truth.y}}
    partial = root / f".partial-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o700)
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for name, tensors in parts.items():
            if tensors is not None:
                save_file(_apart(tensors), partial / name)
        for path in partial.iterdir():
            path.chmod(0o600)
        return _settled(partial, root, named(manifest))
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"capture: cannot be written to {str(root)!r} ({one_line(error)}); choose another folder, or make room"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def named(manifest: Manifest) -> str:
    """Return the name of a capture's folder: its round and its client, of which nothing but letters, digits, - and _ is kept."""
    said = [
        f"round-{manifest.round:04d}" if manifest.round is not None else "",
        f"client-{manifest.client}" if manifest.client else "",
    ]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", "-".join(filter(None, said)) or "capture")[:80]


def _settled(partial: Path, root: Path, name: str) -> Path:
    number = 1
    while True:
        target = root / (name if number == 1 else f"{name}-{number}")
        if not target.exists():  # a folder that another writer makes meanwhile is not empty, and refuses to be replaced
            try:
                return partial.rename(target)
            except OSError:
                if not target.exists():
                    raise
        number += 1


def _apart(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Dense tensors on the processor, no two in the same memory: tied weights are written once for each of their names."""
    kept: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in tensors.items():
        dense = as_kept(f"capture: {name!r}", value, None)
        if dense.is_meta:
            raise UsageError(f"capture: {name!r} has no numbers (it is on the device meta), expected weights; load them first")
        alone = dense.cpu().contiguous()
        place = alone.untyped_storage().data_ptr()
        kept[name] = alone.clone() if place in taken else alone  # a copy of everything takes a fifth of the time
        taken.add(place)
    return kept


def read(path: str | Path) -> Capture:
    """Read a capture from its folder, or from the path of its `capture.json`. Raises UsageError for whatever is not one."""
    given = Path(path)
    folder = given.parent if given.name == MANIFEST else given
    manifest = parsed(_text(folder / MANIFEST), str(folder / MANIFEST))
    before = _tensors(folder / BEFORE) if (folder / BEFORE).exists() else None
    truth = _truth(folder / TRUTH) if (folder / TRUTH).exists() else None
    return Capture(folder, manifest, _tensors(folder / SENT), before, truth)


def find(path: str | Path) -> list[Path]:
    """Return the folders of all captures at or below a path, sorted. Raises UsageError where there is none."""
    root = Path(path)
    if root.name == MANIFEST or (root / MANIFEST).exists():
        return [root.parent if root.name == MANIFEST else root]
    found = sorted(one.parent for one in root.rglob(MANIFEST) if ".partial-" not in str(one))
    if not found:
        raise UsageError(
            f"capture: got {str(path)!r}, expected a folder with {MANIFEST} in it, or folders of these; check the path"
        )
    return found


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_MANIFEST + 1)
    except OSError as error:
        raise UsageError(
            f"capture: {str(path)!r} cannot be read ({error.strerror}), expected a capture's folder; check the path"
        ) from error
    if len(text) > LARGEST_MANIFEST:
        raise UsageError(f"{path}: is larger than {LARGEST_MANIFEST} bytes, expected a few lines of JSON; is it a capture?")
    return text


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError, RuntimeError, AttributeError) as error:
        raise UsageError(f"{path}: cannot be read ({one_line(error)}), expected safetensors; record the exchange again") from error
    if not found:
        raise UsageError(f"{path}: holds no tensor, expected at least one; record the exchange again")
    return found


def _truth(path: Path) -> Batch:
    found = _tensors(path)
    if set(found) != {"x", "y"}:
        raise UsageError(f"{path}: holds {', '.join(sorted(found))[:80]}, expected pixels x and classes y; record them anew")
    return private(found["x"], found["y"], str(path))


def private(x: Tensor, y: Tensor, where: str = "truth") -> Batch:
    """Return private examples as a batch. Raises UsageError for what are not pixels [n, *shape] with a class each."""
    if not x.is_floating_point() or y.is_floating_point() or x.dim() < 2 or y.shape != x.shape[:1] or not len(x):
        raise UsageError(
            f"{where}: holds x {x.dtype} {tuple(x.shape)} and y {y.dtype} {tuple(y.shape)}, expected floating pixels [n, *shape] "
            "and integer classes [n]; pass both"
        )
    if not bool(torch.isfinite(x).all()):
        raise UsageError(f"{where}: holds nan or infinity, expected finite pixels; pass them as they were before normalization")
    return Batch(x.detach().float() if x.itemsize < 4 else x.detach(), y.detach().long())
