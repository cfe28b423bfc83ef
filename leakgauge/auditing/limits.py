"""What an attack that can only make certain pictures could find at best, and whether it finds pictures that it can make."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from leakgauge.auditing.lineup import Sides
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.record import Numbers
from leakgauge.auditing.scoring import lineup_of, scored
from leakgauge.auditing.trials import Case, Tried, try_each
from leakgauge.core.abilities import Limited, inmost
from leakgauge.core.rng import stream
from leakgauge.core.types import Capability, Reconstruction, Tick, no_tick


def nearest(tried: Tried) -> Tried | None:
    """Return the pictures nearest to the secret that an attack can make; None where it can make any.

    For after all trials: it sees the secret.
    """
    attack, started = inmost(tried.case.attack), time.perf_counter()
    if not isinstance(attack, Limited):
        return None
    best = attack.nearest(tried.seen, tried.case.batch, rng=stream(0, "limit"), tick=no_tick)
    if best is None:
        return None
    guess = Reconstruction(best, losses=torch.full((1,), torch.nan))
    return Tried(tried.case, tried.seen, guess, "", time.perf_counter() - started)


def sampled(tried: Tried, scene: Scene, plan: Plan, sides: Sides, *, tick: Tick) -> Numbers:
    """Return what an attack scores, in dB, on the undefended update of pictures that it can make; empty where it can make any."""
    attack = inmost(tried.case.attack)
    made = attack.sample(tried.seen, len(scene.secret), rng=stream(plan.seed, "sample")) if isinstance(attack, Limited) else None
    if made is None:
        return ()
    (found,) = try_each([Case(made, tried.case.attack, plan.threat, ())], [sides.held], scene, plan, tick)
    other = replace(scene, secret=made, update=None)
    lineup = lineup_of(other, replace(plan, defenses=()), sides.lineup, is_labeled=Capability.LABELS in plan.threat)
    trial, _, _ = scored(found, other, plan, lineup, (), sides)
    return trial.scores.get("psnr", ())
