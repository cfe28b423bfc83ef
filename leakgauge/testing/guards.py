"""What holds for the algorithms of every family: they are values, and they leave the world as it was."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leakgauge.spec import build, describe
from leakgauge.testing.expecting import expect
from leakgauge.testing.secrecy import tensors_in


def check_algorithm(family: str, algorithm: Any) -> None:
    """Raise AssertionError unless an algorithm is a frozen dataclass that its config brings back.

    It must be hashable, compare by its settings, show all of them in its repr, and equal what `leakgauge.spec` builds from its
    description.
    """
    who = type(algorithm).__name__
    frozen = dataclasses.is_dataclass(algorithm) and getattr(algorithm, "__dataclass_params__").frozen  # noqa: B009
    expect(frozen, f"{who}: is no frozen dataclass, expected @algorithm on the class")
    settings = [field.name for field in dataclasses.fields(algorithm)]
    missing = [name for name in settings if f"{name}=" not in repr(algorithm)]
    expect(not missing, f"{who}: its repr lacks {', '.join(missing)}, expected every setting")
    twin = copy.deepcopy(algorithm)
    expect(twin == algorithm, f"{who}: differs from its copy, expected algorithms to compare by their settings")
    try:
        same_hash = hash(twin) == hash(algorithm)
    except TypeError as error:
        raise AssertionError(f"{who}: cannot be hashed ({error}), expected settings that are values, such as tuples") from error
    expect(same_hash, f"{who}: hashes to something else than its copy, expected a hash of the settings")
    config = describe(family, algorithm)
    expect(build(family, config) == algorithm, f"{who}: its config {config} builds something else")


@contextmanager
def undisturbed(who: str, *held: object) -> Iterator[None]:
    """Raise AssertionError if the block changes a tensor within `held`, or draws from a global generator."""
    before = [(path, tensor, tensor.detach().clone()) for path, tensor in tensors_in(held)]
    states = _global_states()
    yield
    expect(_global_states() == states, f"{who}: draws from a global generator, expected draws from the rng that is handed in")
    for path, now, then in before:
        expect(_equal(now.detach(), then), f"{who}: changes what it was given (at {path}), expected new values")


def check_equal(who: str, what: str, first: object, second: object) -> None:
    """Raise AssertionError unless two values hold the same tensors, bit by bit."""
    one, other = ([tensor.detach() for _, tensor in tensors_in(value)] for value in (first, second))
    alike = len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other, strict=True))
    expect(alike, f"{who}: gives {what} that differ, expected the same from the same seed")


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _global_states() -> tuple[object, ...]:
    name, keys, position, *_ = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), name, np.asarray(keys).tobytes(), position
