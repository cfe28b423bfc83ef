"""The trials of an audit: the attack, and the controls without which a score means nothing, each on an update of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from leakgauge.auditing.fidelity import in_units_of
from leakgauge.auditing.lineup import Sides
from leakgauge.auditing.outcome import unit
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR
from leakgauge.auditing.rounds import observe_rounds
from leakgauge.core.abilities import Informable, Simultaneous
from leakgauge.core.capabilities import ADAPTIVE
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Attack, Defense
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe_update, protect
from leakgauge.core.types import Batch, Capability, Observation, Reconstruction, ThreatModel, Tick, part_of


@final
@dataclass(frozen=True)
class Case:
    """One attack on one update, before it is run."""

    batch: Batch
    attack: Attack
    threat: ThreatModel
    defenses: tuple[Defense, ...]


@final
@dataclass(frozen=True)
class Tried:
    """What came of an attack: a guess, or the reason why there is none."""

    case: Case
    seen: Observation
    guess: Reconstruction | None
    reason: str
    seconds: float  # an equal share of them, for updates that were attacked at once

    def pixels(self, scene: Scene) -> Tensor:
        """The guesses [m, *shape] in [0, 1] on the CPU; none where there is no guess."""
        shape = scene.secret.x.shape[1:]
        return torch.empty(0, *shape) if self.guess is None else unit(self.guess.batch.x, scene.model.inputs).reshape(-1, *shape)


def run_trials(scene: Scene, plan: Plan, sides: Sides, *, tick: Tick) -> dict[str, Tried]:
    """Run the attack and the controls that the plan asks for, by name, in order."""
    cases = _cases(scene, plan, sides.decoy)
    tried: dict[str, Tried] = {}
    for names in _alike(cases):
        seen = [_observe(name, cases[name], scene, plan, sides.held) for name in names]
        part = part_of(tick, len(tried), len(cases), len(names))
        tried |= dict(zip(names, _attempt_each(seen, [cases[name] for name in names], plan, part), strict=True))
    return {name: tried[name] for name in cases}


def run_more(scene: Scene, plan: Plan, sides: Sides, *, tick: Tick) -> list[Tried]:
    """Run the positive control on undefended updates of other batches, for as many as the criteria ask for and the data hold."""
    batches = sides.more if "positive" in plan.controls else ()
    cases = [Case(batch, _control(plan), ADAPTIVE, ()) for batch in batches]
    return try_each(cases, [sides.held] * len(cases), scene, plan, tick)


def try_each(cases: Sequence[Case], public: Sequence[Batch | None], scene: Scene, plan: Plan, tick: Tick) -> list[Tried]:
    """Run one attack on the updates of several batches, with other data for each."""
    seen = [_observe(CONTROL, case, scene, plan, held) for case, held in zip(cases, public, strict=True)]
    return _attempt_each(seen, cases, plan, tick)


def _cases(scene: Scene, plan: Plan, decoy: Batch | None) -> dict[str, Case]:
    """What is run. The floor is the same attack on an update of other data: what it scores, it scores without the secret."""
    control = _control(plan)
    informed = ThreatModel(plan.threat.name, plan.threat.grants | {Capability.COUNT, Capability.PUBLIC_DATA})
    cases = {ATTACK: Case(scene.secret, plan.attack, plan.threat, plan.defenses)}
    if decoy is not None and "floor" in plan.controls:
        cases[FLOOR] = Case(decoy, plan.attack, plan.threat, plan.defenses)
    if "blind" in plan.controls:
        cases[BLIND] = Case(scene.secret, plan.blind, informed, plan.defenses)
    if "positive" in plan.controls and (plan.defenses or control != plan.attack or scene.update is not None):
        cases[CONTROL] = Case(scene.secret, control, ADAPTIVE, ())
    return cases


def _control(plan: Plan) -> Attack:
    return plan.control or (plan.attack.informed() if isinstance(plan.attack, Informable) else plan.attack)


def attempted(attack: Attack, seen: Observation, seed: int, tick: Tick) -> tuple[Reconstruction | None, str]:
    """Run an attack: its guess, or the reason why there is none."""
    try:
        return attack.run(seen, rng=stream(seed, "attack"), tick=tick), ""
    except OutOfScope as error:
        return None, str(error)


def _alike(cases: Mapping[str, Case]) -> list[list[str]]:
    """The names of cases by their attacks, in order."""
    groups: dict[int, list[str]] = {}
    for name, case in cases.items():
        groups.setdefault(id(case.attack), []).append(name)
    return list(groups.values())


def _attempt_each(seen: Sequence[Observation], cases: Sequence[Case], plan: Plan, tick: Tick) -> list[Tried]:
    """What comes of one attack on several updates: at once where it can, or each in its turn."""
    attack, started = cases[0].attack if cases else None, time.perf_counter()
    if len(cases) > 1 and isinstance(attack, Simultaneous):
        with contextlib.suppress(OutOfScope):  # each in its turn, then: for each its own reason
            guesses = attack.run_each(seen, rngs=[stream(plan.seed, "attack") for _ in seen], tick=tick)
            seconds = (time.perf_counter() - started) / len(cases)
            return [Tried(case, one, guess, "", seconds) for case, one, guess in zip(cases, seen, guesses, strict=True)]
    return [
        _attempt(one, case, plan, part_of(tick, place, len(cases)))
        for place, (one, case) in enumerate(zip(seen, cases, strict=True))
    ]


def _attempt(seen: Observation, case: Case, plan: Plan, tick: Tick) -> Tried:
    started = time.perf_counter()
    guess, reason = attempted(case.attack, seen, plan.seed, tick)
    return Tried(case, seen, guess, reason, time.perf_counter() - started)


def _observe(name: str, case: Case, scene: Scene, plan: Plan, public: Batch | None) -> Observation:
    if name == ATTACK and scene.update is not None:
        client = protect(plan.client, case.defenses if Capability.DEFENSE in case.threat else ())
        update = in_units_of(client, scene.update, scene.model, case.batch) if Capability.SCALE in case.threat else scene.update
        return observe_update(scene.model, update, threat=case.threat, client=client, labels=scene.secret.y, public=public)
    return observe_rounds(
        scene.model,
        case.batch,
        client=plan.client,
        defenses=case.defenses,
        threat=case.threat,
        public=public,
        rounds=plan.rounds,
        seed=plan.seed,
    )
