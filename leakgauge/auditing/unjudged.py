"""An update whose private examples nobody has: what an attack makes of it, and what it makes of updates of other data.

Nothing here is judged, for there is nothing to judge by. What can be known without the truth is told: where the attack's loss
ended, and how often the same attack rebuilds examples of its own, from updates that this client makes of other data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from leakgauge.auditing.environment import environment
from leakgauge.auditing.lineup import Sides, split
from leakgauge.auditing.outcome import Images, Outcome, unit
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.record import ATTACK, Record, Setting, Trial, Verdict
from leakgauge.auditing.scoring import lineup_of, numbers, scored
from leakgauge.auditing.setting import offered
from leakgauge.auditing.trials import Case, Tried, attempted, try_each
from leakgauge.auditing.verdict import recovered_examples
from leakgauge.core import tree
from leakgauge.core.abilities import Diagnosable, used_by
from leakgauge.core.capabilities import require
from leakgauge.core.isolation import isolated
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe_update, protect
from leakgauge.core.types import Batch, Capability, Model, Observation, Reconstruction, ThreatModel, Tick, Update, no_tick, part_of
from leakgauge.core.workload import operations, threads_for


@final
@dataclass(frozen=True)
class Sent:
    """What is there of a client's update: the model before it, the update, and other data of the same kind, if any."""

    model: Model
    update: Update
    public: Batch | None = None
    class_names: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Rehearsal:
    """The same attack on an update of other data, of which the truth is known."""

    recovered: int
    examples: int
    loss: float


def run_unjudged(sent: Sent, plan: Plan, *, tick: Tick = no_tick) -> Outcome:
    """Attack an update, and rehearse on updates of `criteria.power` batches of other data. The verdict is "not judged".

    Raises UsageError if the attack needs what the threat model does not grant, or the update is not sound.
    """
    require(plan.attack.needs, plan.threat, f"the attack {type(plan.attack).__name__}")
    like = next(iter(sent.model.params.values()))
    examples = like.new_zeros(sent.update.examples or 1, *sent.model.inputs.shape)
    with threads_for(operations(isolated(sent.model), examples)):
        return _run(sent, plan, tick)


def _run(sent: Sent, plan: Plan, tick: Tick) -> Outcome:
    started = time.perf_counter()
    client = protect(plan.client, plan.defenses if Capability.DEFENSE in plan.threat else ())
    seen = observe_update(sent.model, sent.update, threat=plan.threat, client=client, public=sent.public)
    guess, reason = attempted(plan.attack, seen, plan.seed, part_of(tick, 0, 2))
    rehearsals = [] if guess is None else rehearse(len(guess.batch), sent, plan, part_of(tick, 1, 2))
    trial = _trial(plan, seen, guess, reason, time.perf_counter() - started)
    return Outcome(
        Record(
            key="",
            name="",
            seed=plan.seed,
            status=trial.status,
            verdict=Verdict("not judged", _told(trial, rehearsals)),
            setting=_setting(sent, plan, seen, guess),
            trials={ATTACK: trial},
            seconds=time.perf_counter() - started,
            spec={},
            environment=environment(next(iter(sent.update.delta.values())).device),
            diagnosis=(*sent.update.notes, *([trial.message] if trial.status == "ok" and trial.message else [])),
        ),
        Images(None, {} if guess is None else {ATTACK: unit(guess.batch.x, sent.model.inputs)}),
    )


def rehearse(size: int, sent: Sent, plan: Plan, tick: Tick) -> list[Rehearsal]:
    """Run the attack on updates of other data, as many batches as the criteria ask for and the data hold."""
    if sent.public is None or len(sent.public) < 2 * size:
        return []
    order = torch.randperm(len(sent.public), generator=stream(plan.seed, "rehearsals"))
    count = min(plan.criteria.power, len(order) // (2 * size))
    others = sent.public[order[count * size :].to(sent.public.x.device)]
    secrets = [sent.public[rows.to(sent.public.x.device)] for rows in order[: count * size].split(size)]
    scenes = [Scene(model=sent.model, secret=secret, public=others) for secret in secrets]
    is_labeled, candidates = Capability.LABELS in plan.threat, plan.criteria.candidates
    sides = [
        split(scene.public, scene.secret, candidates, is_labeled=is_labeled, rng=stream(plan.seed, "public")) for scene in scenes
    ]
    cases = [Case(scene.secret, plan.attack, plan.threat, plan.defenses) for scene in scenes]
    tried = try_each(cases, [side.held for side in sides], scenes[0], plan, tick)
    return [_rehearsal(*one, plan) for one in zip(tried, scenes, sides, strict=True)]


def _rehearsal(tried: Tried, scene: Scene, sides: Sides, plan: Plan) -> Rehearsal:
    """What came of a rehearsal: an example counts as recovered as in an audit, beside a blind guess and other images."""
    informed = ThreatModel(plan.threat.name, plan.threat.grants | {Capability.COUNT, Capability.PUBLIC_DATA})
    blind = Case(scene.secret, plan.blind, informed, plan.defenses)
    floors = [one.pixels(scene) for one in try_each([blind], [sides.held], scene, plan, no_tick)]
    lineup = lineup_of(scene, plan, sides.lineup, is_labeled=Capability.LABELS in plan.threat)
    trial, _, _ = scored(tried, scene, plan, lineup, floors, sides)
    return Rehearsal(len(recovered_examples(trial)), len(scene.secret), _best(trial))


def _trial(plan: Plan, seen: Observation, guess: Reconstruction | None, reason: str, seconds: float) -> Trial:
    if guess is None:
        return Trial(repr(plan.attack), "out_of_scope", seconds, reason)
    blind = None
    if isinstance(plan.attack, Diagnosable):
        inputs = seen.model.inputs
        gray = replace(guess.batch, x=torch.full_like(guess.batch.x, (inputs.low + inputs.high) / 2))
        blind = numbers(plan.attack.loss_at(seen, gray).reshape(1))[0]
    told = " ".join(guess.notes)
    return Trial(repr(plan.attack), guess.status.value, seconds, told, losses=numbers(guess.losses), loss_blind=blind)


def _setting(sent: Sent, plan: Plan, seen: Observation, guess: Reconstruction | None) -> Setting:
    inputs, granted = sent.model.inputs, plan.threat.grants
    labels = [] if guess is None else (guess.batch.y if guess.batch.y.dim() == 1 else guess.batch.y.argmax(dim=1)).tolist()
    names = sent.class_names or tuple(str(label) for label in range(inputs.classes))
    return Setting(
        threat=plan.threat.name,
        granted=tuple(sorted(granted)),
        withheld=tuple(sorted(set(Capability) - granted)),
        examples=len(labels) or seen.update.examples or 0,
        input_shape=inputs.shape,
        classes=inputs.classes,
        class_names=tuple(names[label] for label in labels),
        parameters=sum(value.numel() for value in sent.model.params.values()),
        sent=sum(value.numel() for value in seen.update.delta.values()),
        client=f"{plan.client!r}, for rehearsals; the update was recorded",
        defenses=tuple(repr(defense) for defense in plan.defenses),
        candidates=None,
        threshold=plan.criteria.threshold,
        margin=plan.criteria.margin,
        alpha=plan.criteria.alpha,
        model=tree.fingerprint(sent.model.params),
        update=tree.fingerprint(seen.update.delta),
        unused=tuple(sorted(map(str, offered(seen, plan) - used_by(plan.attack)))),
    )


def _best(trial: Trial) -> float:
    return min((loss for loss in trial.losses if loss is not None), default=math.nan)


def _told(trial: Trial, rehearsals: Sequence[Rehearsal]) -> str:
    """What is known without the truth, a sentence each."""
    told = ["The private examples are not there, so nothing was judged: what the attack made may be right or wrong."]
    best = _best(trial)
    if trial.status == "out_of_scope":
        told.append(f"The attack does not apply: {trial.message}.")
    elif math.isfinite(best) and trial.loss_blind is not None:
        told.append(f"The attack ended at a loss of {best:.3g}; that of a gray picture is {trial.loss_blind:.3g}.")
    return " ".join([*told, *_rehearsed(best, rehearsals)])


def _rehearsed(best: float, rehearsals: Sequence[Rehearsal]) -> list[str]:
    if not rehearsals:
        return []
    found, count = sum(one.recovered for one in rehearsals), sum(one.examples for one in rehearsals)
    updates = f"{len(rehearsals)} update{'s' if len(rehearsals) > 1 else ''} of other data, made by the client that was assumed"
    told = [f"On {updates}, the same attack recovered {found} of {count} examples."]
    good = [one.loss for one in rehearsals if one.recovered and math.isfinite(one.loss)]
    if good and math.isfinite(best):
        place = "no higher than" if best <= max(good) else "above"
        told.append(f"Here it ended {place} the {max(good):.3g} at which it ended there at most where it recovered any.")
    return told
