"""The trials of an audit: the attack, and the controls without which a score means nothing, each on an update of its own."""

from __future__ import annotations

import time
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
from leakgauge.core.abilities import Informable
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
    seconds: float

    def pixels(self, scene: Scene) -> Tensor:
        """The guesses [m, *shape] in [0, 1] on the CPU; none where there is no guess."""
        shape = scene.secret.x.shape[1:]
        return torch.empty(0, *shape) if self.guess is None else unit(self.guess.batch.x, scene.model.inputs).reshape(-1, *shape)


def run_trials(scene: Scene, plan: Plan, sides: Sides, *, tick: Tick) -> dict[str, Tried]:
    """Run the attack and the controls that the plan asks for, by name, in order."""
    cases = _cases(scene, plan, sides.decoy)
    tried = {}
    for done, (name, case) in enumerate(cases.items()):
        seen = _observe(name, case, scene, plan, sides.held)
        tried[name] = _attempt(seen, case, plan, part_of(tick, done, len(cases)))
    return tried


def run_more(scene: Scene, plan: Plan, sides: Sides, *, tick: Tick) -> list[Tried]:
    """Run the positive control on undefended updates of other batches, for as many as the criteria ask for and the data hold."""
    batches = sides.more if "positive" in plan.controls else ()
    control = _control(plan)
    return [
        try_on(batch, control, ADAPTIVE, scene, plan, sides.held, part_of(tick, done, len(batches)))
        for done, batch in enumerate(batches)
    ]


def try_on(
    batch: Batch,
    attack: Attack,
    threat: ThreatModel,
    scene: Scene,
    plan: Plan,
    public: Batch | None,
    tick: Tick,
    *,
    defenses: tuple[Defense, ...] = (),
) -> Tried:
    """Run an attack on the update of a batch, undefended unless there are `defenses`."""
    case = Case(batch, attack, threat, defenses)
    return _attempt(_observe(CONTROL, case, scene, plan, public), case, plan, tick)


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
