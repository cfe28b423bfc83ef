"""What a frontier is: one file with a base, the attacks, and every defense at every strength.

    data: {name: mnist, part: train}
    victim: lenet
    client: fedsgd
    batch: 4                        # examples of one update: what a client trains on in a round, and what an attack is after
    federation: {clients: 10, rounds: 200, server: {name: sgd, learning_rate: 0.1}}
    attacks: {adaptive: {name: bayes}}
    audits: {seeds: 5}
    defenses:
      none: {"": {}}
      noise: {"0.01": {defenses: [{name: gaussian_noise, sigma: 0.01}]}}
    quick: {federation.rounds: 50, audits.seeds: 2}

A defense is what it changes in the base, by dotted paths: a list of defenses, and as well `batch`, `client` or `victim`. `quick` is
what a short run changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from leakgauge.core.abilities import Accountable
from leakgauge.core.accounting import check_installed
from leakgauge.core.errors import MissingExtra, UsageError, suggestion
from leakgauge.core.reading import override, put, read_file, shown
from leakgauge.spec import document, federating
from leakgauge.spec.document import AuditSpec
from leakgauge.spec.federating import FederationSpec

_BASE = ("seed", "data", "victim", "client", "batch", "defenses", "federation", "attacks", "audits")
_FEDERATION = ("clients", "partition", "sampled", "server", "rounds", "test")
_AUDITS = ("seeds", "threat", "training", "criteria")
DEFAULTS: Mapping[str, Any] = {
    "name": "frontier",
    "seed": 0,
    "client": "fedsgd",
    "batch": 1,
    "federation": {},
    "audits": {},
    "attacks": {"adaptive": "bayes"},
    "quick": {},
}
"""What a file may leave out."""


@final
@dataclass(frozen=True)
class Option:
    """One defense at one strength: the training that tells what it costs, and the audits that tell what it buys, by attack."""

    defense: str
    strength: str
    federation: FederationSpec
    audits: Mapping[str, tuple[AuditSpec, ...]]

    @property
    def name(self) -> str:
        """The defense with its strength."""
        return f"{self.defense} {self.strength}".strip()


@final
@dataclass(frozen=True)
class Frontier:
    """All options of a file, in its order."""

    name: str
    options: tuple[Option, ...]
    is_quick: bool = False


def load(path: Path, overrides: Sequence[str] = (), *, is_quick: bool = False) -> Frontier:
    """Read a file, with `a.b=value` overrides. Raises UsageError, naming the defense, for whatever is wrong in either."""
    whole: dict[str, Any] = {**DEFAULTS, **read_file(path)}
    for assignment in overrides:
        whole = override(whole, assignment)
    return parse(whole, is_quick=is_quick)


def parse(whole: Mapping[str, Any], *, is_quick: bool = False) -> Frontier:
    """Read a frontier from plain values. Raises UsageError as `load` does."""
    base = {**DEFAULTS, **whole}
    name, defenses, quick = base.pop("name"), base.pop("defenses", None), base.pop("quick")
    if not isinstance(quick, Mapping):
        raise UsageError(f"quick: got {shown(quick)}, expected what a short run changes, such as federation.rounds: 50")
    for path, value in quick.items() if is_quick else ():
        base = put(base, path, value)
    for key in base:
        if key not in _BASE:
            raise UsageError(f"{key}: got {shown(base[key])}, but a frontier has no such setting; {suggestion(str(key), _BASE)}")
    options = tuple(_option(base, defense, strength, changes) for defense, strength, changes in _points(defenses))
    return Frontier(str(name), options, is_quick)


def _points(defenses: object) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    if not isinstance(defenses, Mapping) or not defenses:
        raise UsageError(f"defenses: got {shown(defenses)}, expected a mapping from a name to its strengths, at least one")
    for defense, strengths in defenses.items():
        if not isinstance(strengths, Mapping) or not strengths:
            raise UsageError(f"defenses.{defense}: got {shown(strengths)}, expected a mapping from a strength to what it changes")
        for strength, changes in strengths.items():
            if not isinstance(changes, Mapping):
                raise UsageError(
                    f"defenses.{defense}.{strength}: got {shown(changes)}, expected what it changes, such as defenses: [sign]"
                )
            yield defense, strength, changes


def _option(base: Mapping[str, Any], defense: str, strength: str, changes: Mapping[str, Any]) -> Option:
    try:
        own: dict[str, Any] = {**base, "defenses": []}
        for path, value in changes.items():
            own = put(own, path, value)
        federation = _federation(own)
        if any(isinstance(one, Accountable) for one in federation.parts.defenses):
            check_installed()  # and not after hours of training
        return Option(defense, strength, federation, {name: _audits(own, name) for name in _attacks(own)})
    except MissingExtra:
        raise
    except UsageError as error:
        raise UsageError(f"at {defense} {strength}: {error}") from error


def _federation(own: Mapping[str, Any]) -> FederationSpec:
    settings = _settings(own, "federation", _FEDERATION)
    shared = {name: own[name] for name in ("seed", "data", "victim", "client", "defenses") if name in own}
    rounds = settings.get("rounds", federating.DEFAULTS["rounds"])
    return federating.parse({**shared, **settings, "examples": own["batch"], "every": rounds})


def _audits(own: Mapping[str, Any], attack: str) -> tuple[AuditSpec, ...]:
    settings = {"threat": "adaptive", "seeds": 5, **_settings(own, "audits", _AUDITS)}
    seeds = settings.pop("seeds")
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise UsageError(f"audits.seeds: got {shown(seeds)}, expected a number >= 1")
    shared = {name: own[name] for name in ("data", "victim", "client", "defenses") if name in own}
    whole = {**shared, **settings, "batch": {"size": own["batch"]}, "attack": own["attacks"][attack]}
    return tuple(document.parse({**whole, "seed": own["seed"] + number, "name": attack}) for number in range(seeds))


def _attacks(own: Mapping[str, Any]) -> Sequence[str]:
    attacks = own["attacks"]
    if not isinstance(attacks, Mapping) or not attacks:
        raise UsageError(f"attacks: got {shown(attacks)}, expected a mapping from a name to an attack, at least one")
    return list(attacks)


def _settings(own: Mapping[str, Any], key: str, known: Sequence[str]) -> dict[str, Any]:
    settings = own[key]
    if not isinstance(settings, Mapping):
        raise UsageError(f"{key}: got {shown(settings)}, expected a mapping; known: {', '.join(known)}")
    for name in settings:
        if name not in known:
            raise UsageError(
                f"{key}.{name}: got {shown(settings[name])}, but there is no such setting; {suggestion(str(name), known)}"
            )
    return dict(settings)
