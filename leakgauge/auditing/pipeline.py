"""The pipeline, on one page: observe, attack, judge, and the controls without which a score means nothing."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from leakgauge.auditing.diagnosis import diagnose
from leakgauge.auditing.environment import environment
from leakgauge.auditing.judging import explain
from leakgauge.auditing.limits import nearest, sampled
from leakgauge.auditing.lineup import split
from leakgauge.auditing.outcome import Images, Outcome, unit
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.power import power
from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, LIMIT, Record, Trial
from leakgauge.auditing.scoring import lineup_of, scored
from leakgauge.auditing.setting import setting_of
from leakgauge.auditing.trials import run_more, run_trials
from leakgauge.auditing.verdict import decide
from leakgauge.core.capabilities import require
from leakgauge.core.isolation import isolated
from leakgauge.core.rng import stream
from leakgauge.core.types import Capability, Tick, no_tick, part_of
from leakgauge.core.workload import operations, threads_for


def run(scene: Scene, plan: Plan, *, tick: Tick = no_tick) -> Outcome:
    """Audit one update: attack it, run the controls, judge them all alike.

    All trials are over before the first is judged, and before an objective is evaluated at the truth. Raises UsageError if the
    attack needs what the threat model does not grant, or the update is not sound.
    """
    require(plan.attack.needs, plan.threat, f"the attack {type(plan.attack).__name__}")
    # Zeros, in a network of its own: what this one remembers of the secret would reach the adversary with it.
    with threads_for(operations(isolated(scene.model), torch.zeros_like(scene.secret.x))):
        return _run(scene, plan, tick)


def _run(scene: Scene, plan: Plan, tick: Tick) -> Outcome:
    started = time.perf_counter()
    is_labeled = Capability.LABELS in plan.threat
    rng = stream(plan.seed, "public")
    others, criteria = plan.criteria.power - 1, plan.criteria
    sides = split(scene.public, scene.secret, criteria.candidates, is_labeled=is_labeled, more=others, rng=rng)
    tried = run_trials(scene, plan, sides, tick=part_of(tick, 0, 2) if others else tick)
    more = run_more(scene, plan, sides, tick=part_of(tick, 1, 2))
    lineup = lineup_of(scene, plan, sides.lineup, is_labeled=is_labeled)
    trials: dict[str, Trial] = {}
    guesses: dict[str, Tensor] = {}
    unscored: dict[str, str] = {}
    for name, one in tried.items():
        floors = [tried[floor].pixels(scene) for floor in (FLOOR, BLIND) if floor in tried and floor != name and name != BLIND]
        trials[name], guesses[name], missing = scored(one, scene, plan, lineup, floors, sides)
        unscored |= missing
    if "positive" in plan.controls and CONTROL not in trials:  # the audited attack already had every advantage
        trials[CONTROL], guesses[CONTROL] = trials[ATTACK], guesses[ATTACK]
    if "limit" in plan.controls and (best := nearest(tried[ATTACK])) is not None:
        trials[LIMIT], guesses[LIMIT], _ = scored(best, scene, plan, lineup, [], sides)
    setting = setting_of(scene, plan, lineup, tried)
    if "positive" in plan.controls:
        setting = replace(setting, sampled=sampled(tried[ATTACK], scene, plan, sides, tick=no_tick))
    if CONTROL in trials:
        floors = [tried[floor].pixels(scene) for floor in (FLOOR, BLIND) if floor in tried]
        setting = replace(setting, power=power(trials[CONTROL], more, scene, plan, setting, floors, sides))
    record = Record(
        key="",
        name="",
        seed=plan.seed,
        status=trials[ATTACK].status,
        verdict=decide(trials, setting, criteria.alpha),
        setting=setting,
        trials=trials,
        seconds=time.perf_counter() - started,
        spec={},
        environment=environment(scene.secret.x.device),
        diagnosis=(*(scene.update.notes if scene.update else ()), *diagnose(trials, setting), *explain(unscored)),
    )
    return Outcome(record, Images(unit(scene.secret.x, scene.model.inputs), guesses))
