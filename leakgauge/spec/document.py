"""What an audit is: one file, its live parts, its canonical form and its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from leakgauge.auditing.plan import CONTROLS, Control, Criteria
from leakgauge.auditing.rounds import Rounds
from leakgauge.auditing.training import Training
from leakgauge.core.algorithm import Count, NonNegativeInt, algorithm
from leakgauge.core.capabilities import NAMED, require, threat_named
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Attack, Client, Data, Defense, Metric, Victim
from leakgauge.core.reading import override, read_file, read_mapping
from leakgauge.core.types import ThreatModel
from leakgauge.spec.building import resolve
from leakgauge.spec.describing import describe_value
from leakgauge.spec.parameters import check

SCHEME = 2
"""The version of how keys are made; it changes whenever an unchanged file would get another key."""

DEFAULTS: Mapping[str, Any] = {
    "name": "audit",
    "seed": 0,
    "training": {},
    "client": "fedsgd",
    "update": None,
    "defenses": [],
    "rounds": {},
    "threat": "server",
    "control": None,
    "controls": sorted(CONTROLS),
    "metrics": {
        "psnr": "psnr",
        "ssim": "ssim",
        "mse": "mse",
        "psnr_affine": {"name": "affine", "metric": "psnr"},
        "ssim_affine": {"name": "affine", "metric": "ssim"},
        "mse_affine": {"name": "affine", "metric": "mse"},
    },
    "criteria": {},
}
"""What a file may leave out."""


@final
@algorithm
class Draw:
    """Which examples are the secret: `size` of them drawn by chance, or those at `indices`.

    `labels` asks of a drawn batch that its classes all differ ("unique"), are all the same ("same"), occur twice each ("pairs", as
    in 11223344), or that one is that of half of the examples and the others take turns ("one_repeated", as in 11112345).
    """

    size: Count | None = None
    indices: tuple[NonNegativeInt, ...] | None = None
    labels: Literal["random", "unique", "same", "pairs", "one_repeated"] = "random"

    def __post_init__(self) -> None:
        if (self.size is None) == (self.indices is None):
            raise UsageError(
                f"Draw.size: got {self.size} with indices {self.indices}, expected one of the two; set the other one to null"
            )
        if self.indices is not None and (not self.indices or len(set(self.indices)) < len(self.indices)):
            raise UsageError(f"Draw.indices: got {list(self.indices)}, expected different numbers, at least one; correct the list")
        if self.indices is not None and self.labels != "random":
            raise UsageError(f"Draw.labels: got {self.labels!r}, expected random where indices choose the examples; leave it out")


@final
@algorithm
class Recorded:
    """An update that was really sent: the files of the weights `before` local training and of those `after` it (see `snapshot`).

    It is what the attack sees, and the victim has the weights before; floor and controls are made by the audit's client.
    """

    before: str
    after: str


@final
@dataclass(frozen=True, kw_only=True)
class Parts:
    """An audit as live objects."""

    seed: int
    data: Data
    batch: Draw
    victim: Victim
    training: Training
    client: Client
    update: Recorded | None
    defenses: tuple[Defense, ...]
    rounds: Rounds
    threat: ThreatModel
    attack: Attack
    control: Attack | None
    controls: frozenset[Control]
    metrics: Mapping[str, Metric]
    criteria: Criteria


@final
@dataclass(frozen=True)
class AuditSpec:
    """An audit that was checked and can be prepared. `config` is its canonical form; two specs with one `key` are one audit."""

    name: str
    parts: Parts
    config: dict[str, Any]


def load(path: Path | str, overrides: Sequence[str] = ()) -> AuditSpec:
    """Read an audit file, with `a.b=value` overrides. Raises UsageError for whatever is wrong in either."""
    return parse(read_file(Path(path)), overrides)


def loads(text: str, overrides: Sequence[str] = (), source: str = "the text") -> AuditSpec:
    """Read an audit from YAML text. Raises UsageError as `load` does."""
    return parse(read_mapping(text, source), overrides)


def parse(document: Mapping[str, Any], overrides: Sequence[str] = ()) -> AuditSpec:
    """Read an audit from plain values (live algorithms are welcome among them). Raises UsageError as `load` does."""
    whole = complete(document)
    for assignment in overrides:
        whole = complete(override(whole, assignment))
    name = check(str, whole.pop("name"), "name")
    parts, config = resolve(Parts, whole, "")
    if "psnr" not in parts.metrics:
        raise UsageError(f"metrics: got {', '.join(parts.metrics) or 'none'}, expected psnr among them; add  psnr: psnr")
    _check_threat(parts.threat)
    require(parts.attack.needs, parts.threat, f"the attack {config['attack']['name']}")
    if parts.update is not None and (parts.training.steps or parts.rounds.count > 1):
        raise UsageError(
            f"update: is recorded, beside {parts.training.steps} training steps and {parts.rounds.count} rounds, expected 0 and 1: "
            "its weights are those before, and it is of one round; leave them out"
        )
    return AuditSpec(name, parts, _without_update(config))


def complete(document: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what a file may leave out, and write out its short forms: steps, rounds, a threat model, a module for a victim."""
    whole = {**DEFAULTS, **document}
    victim = whole.get("victim")
    if isinstance(victim, Mapping) and "module" in victim and "name" not in victim:
        whole["victim"] = {"name": "module", **victim}
    for name, setting in (("training", "steps"), ("rounds", "count")):
        if isinstance(whole[name], int) and not isinstance(whole[name], bool):
            whole[name] = {setting: whole[name]}
    threat = whole["threat"]
    if isinstance(threat, str):
        threat = {"name": threat}
    if isinstance(threat, Mapping) and set(threat) == {"name"}:
        threat = {**threat, "grants": sorted(threat_named(str(threat["name"])).grants)}
    return {**whole, "threat": threat}


def canonical(spec: AuditSpec) -> dict[str, Any]:
    """Return the audit as plain values with every default written out; `parse` makes the same audit of it."""
    plain: dict[str, Any] = json.loads(json.dumps(spec.config))
    return plain


def key(spec: AuditSpec) -> str:
    """Return the identity of an audit, 16 hexadecimal digits.

    It is made from what the algorithms are in the end, so that a recipe and the composition it stands for have one key, and a
    recipe that changes gets another one. The name of the audit is not in it.
    """
    identity = {"scheme": SCHEME, "audit": _without_update(describe_value(Parts, spec.parts, ""))}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_update(config: dict[str, Any]) -> dict[str, Any]:
    """An audit that has no recorded update says nothing of it: keys, and records, are older than this setting."""
    return {name: value for name, value in config.items() if name != "update" or value is not None}


def _check_threat(threat: ThreatModel) -> None:
    known = NAMED.get(threat.name, threat)
    if known != threat:
        got, expected = (", ".join(sorted(one.grants)) or "none" for one in (threat, known))
        raise UsageError(
            f"threat.grants: got {got}, expected {expected} for {threat.name!r}; give a threat model of your own another name"
        )
