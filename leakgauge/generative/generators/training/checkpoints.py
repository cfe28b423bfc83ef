"""Checkpoints of a training: all numbers, and the state of chance. Read with `weights_only`: nothing in them can run."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import torch

from leakgauge.core.errors import UsageError
from leakgauge.core.types import Rng
from leakgauge.generative.generators.training.state import State


def save(path: Path, identity: str, state: State, rng: Rng, step: int) -> None:
    """Write a checkpoint: under another name and renamed."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        torch.save({"identity": identity, "step": step, "chance": rng.get_state(), **state.saved()}, unfinished)
        unfinished.replace(path)


def resume(path: Path, identity: str, state: State, rng: Rng) -> int:
    """Take the numbers of a checkpoint in place, and return its step; 0 where there is none.

    Raises UsageError for a file that is no checkpoint, or one of another training.
    """
    if not path.exists():
        return 0
    try:
        saved = torch.load(path, weights_only=True)
        found, step, chance = saved["identity"], saved["step"], saved["chance"]
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise UsageError(f"checkpoint: {path} holds no checkpoint, expected what a training has written; remove it") from error
    if found != identity:
        raise UsageError(f"checkpoint: {path} is of another training ({found}), expected {identity}; choose another file")
    state.restore(saved)
    rng.set_state(chance)
    return int(step)
