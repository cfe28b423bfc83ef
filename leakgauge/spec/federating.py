"""What a federation is: one file, its live parts, and its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from leakgauge.core.algorithm import Count, OpenShare, algorithm
from leakgauge.core.devices import device_named
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Client, Data, Defense, Optimizer, Partition, Victim
from leakgauge.core.reading import override, read_file
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch
from leakgauge.federation.rounds import Federation
from leakgauge.spec.building import resolve
from leakgauge.spec.describing import describe_value
from leakgauge.spec.parameters import check
from leakgauge.spec.preparing import check_pool

DEFAULTS: Mapping[str, Any] = {
    "name": "federation",
    "seed": 0,
    "defenses": [],
    "clients": 10,
    "partition": "iid",
    "server": {"name": "sgd", "learning_rate": 1.0},
    "rounds": 10,
    "every": 10,
    "test": 0.2,
    "sampled": None,
    "examples": None,
}
"""What a file may leave out."""


@final
@algorithm
class Parts:
    """A federation as live objects: what decides what comes out, whatever the number of rounds."""

    seed: int
    data: Data
    test: OpenShare
    victim: Victim
    client: Client
    defenses: tuple[Defense, ...]
    clients: Count
    partition: Partition
    sampled: Count | None
    examples: Count | None
    server: Optimizer

    def __post_init__(self) -> None:
        if self.sampled is not None and self.sampled > self.clients:
            raise UsageError(f"Parts.sampled: got {self.sampled}, expected at most the {self.clients} clients; lower it")


@final
@dataclass(frozen=True)
class FederationSpec:
    """A federation that was checked and can be prepared; how many rounds it runs, and how often it is looked at."""

    name: str
    parts: Parts
    config: dict[str, Any]
    rounds: int
    every: int

    @property
    def key(self) -> str:
        """The identity, 16 hexadecimal digits: the same whatever the rounds, so that more of them go on from fewer."""
        text = json.dumps(describe_value(Parts, self.parts, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(path: Path | str, overrides: Sequence[str] = ()) -> FederationSpec:
    """Read a federation file, with `a.b=value` overrides. Raises UsageError for whatever is wrong in either."""
    return parse(read_file(Path(path)), overrides)


def parse(document: Mapping[str, Any], overrides: Sequence[str] = ()) -> FederationSpec:
    """Read a federation from plain values. Raises UsageError as `load` does."""
    whole = complete(document)
    for assignment in overrides:
        whole = override(whole, assignment)
    name = check(str, whole.pop("name"), "name")
    rounds, every = (check(Count, whole.pop(key), key) for key in ("rounds", "every"))
    parts, config = resolve(Parts, whole, "")
    return FederationSpec(name, parts, config, rounds, every)


def complete(document: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what a file may leave out."""
    return {**DEFAULTS, **document}


def prepare(spec: FederationSpec, device: str = "cpu") -> tuple[Federation, Batch]:
    """Return the federation and the examples that nobody trains on.

    Raises UsageError where a client would be left without an example, and where no example is left for the test.
    """
    parts, place = spec.parts, device_named(device)
    pool = parts.data.load()
    check_pool(pool)
    order = torch.randperm(len(pool), generator=stream(parts.seed, "test"))
    held = round(parts.test * len(pool))
    if not 0 < held < len(pool):
        raise UsageError(f"test: got {parts.test} of {len(pool)} examples, expected some on either side; change it")
    test, learned = order[:held], order[held:]
    rows = parts.partition.split(pool.y[learned], parts.clients, rng=stream(parts.seed, "partition"))
    empty = [number for number, one in enumerate(rows) if not len(one)]
    if empty:
        raise UsageError(
            f"partition: leaves {len(empty)} of {parts.clients} clients without an example (the first is client {empty[0]}), "
            "expected one at least for each; take fewer clients, or more even shares"
        )
    shares = tuple(Batch(pool.x[learned[one]], pool.y[learned[one]]).to(place) for one in rows)
    model = parts.victim.build(pool.inputs, rng=stream(parts.seed, "victim")).to(place)
    federation = Federation(
        model=model,
        shares=shares,
        client=parts.client,
        defenses=parts.defenses,
        server=parts.server,
        sampled=parts.clients if parts.sampled is None else parts.sampled,
        examples=parts.examples,
        seed=parts.seed,
    )
    return federation, Batch(pool.x[test], pool.y[test]).to(place)
