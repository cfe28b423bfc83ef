"""The pipeline, on one page: observe, attack, judge, and the controls without which a score means nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.auditing.environment import environment
from leakgauge.auditing.judging import explain, judge
from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, Record, Setting, Trial
from leakgauge.auditing.rounds import Rounds, observe_rounds, trained_on
from leakgauge.auditing.verdict import decide, diagnose
from leakgauge.core.abilities import Diagnosable, Informable
from leakgauge.core.algorithm import Count, NonNegative, Positive, Share, algorithm
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Attack, Client, Defense, Metric
from leakgauge.core.rng import stream
from leakgauge.core.threat import ADAPTIVE, observe_update, protect, require
from leakgauge.core.types import Batch, Capability, Model, Observation, ThreatModel, Tick, Update, no_tick, part_of

Control = Literal["floor", "blind", "positive"]
CONTROLS: frozenset[Control] = frozenset({"floor", "blind", "positive"})
"""What is run beside an attack, so that its score means something."""


@final
@algorithm
class Criteria:
    """When a score counts as leakage: fixed before the attack, the same for every attack.

    An example is recovered if its PSNR reaches `threshold` (dB) and exceeds every floor by `margin` (dB). The batch is
    identified if so many truths rank first among `candidates` images that chance explains it with probability below `alpha`.
    """

    threshold: Positive = 20.0
    margin: NonNegative = 3.0
    candidates: Count = 100
    alpha: Share = 0.01


@final
@dataclass(frozen=True, kw_only=True)
class Scene:
    """The model, the secret, and other data of its kind (None: no floor from other data, no identification).

    `update` is what was really sent, where it was recorded: it is what the attack sees, while floor and controls are those of the
    plan's client.
    """

    model: Model
    secret: Batch
    public: Batch | None = None
    class_names: tuple[str, ...] = ()
    update: Update | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who sends, who attacks, and how it is judged.

    `control` None means the attack itself with everything granted; `controls` says which trials are run beside the attack.
    """

    client: Client
    defenses: tuple[Defense, ...] = ()
    rounds: Rounds = Rounds()
    threat: ThreatModel
    attack: Attack
    control: Attack | None = None
    controls: frozenset[Control] = CONTROLS
    blind: Attack
    metrics: Mapping[str, Metric]
    criteria: Criteria = Criteria()
    seed: int = 0


@final
@dataclass(frozen=True)
class Images:
    """What a report shows: each [n, *shape] on the CPU, guesses in the order of the truths they were matched to."""

    truth: Tensor
    guesses: Mapping[str, Tensor]  # trial -> pixels


@final
@dataclass(frozen=True)
class Outcome:
    """A record with the images that belong to it."""

    record: Record
    images: Images


@final
@dataclass(frozen=True)
class _Case:
    """One attack on one update."""

    batch: Batch
    attack: Attack
    threat: ThreatModel
    defenses: tuple[Defense, ...]


def run(scene: Scene, plan: Plan, *, tick: Tick = no_tick) -> Outcome:
    """Audit one update: attack it, run the controls, judge them all alike.

    Raises UsageError if the attack needs what the threat model does not grant, or the update is not sound.
    """
    require(plan.attack.needs, plan.threat, f"the attack {type(plan.attack).__name__}")
    started = time.perf_counter()
    decoy, candidates, public = _split(scene, plan)
    cases = _cases(scene, plan, decoy)
    trials: dict[str, Trial] = {}
    guesses: dict[str, Tensor] = {}
    unscored: dict[str, str] = {}
    sent = 0
    for done, (name, case) in enumerate(cases.items()):
        seen = _observe(name, case, scene, plan, public)
        if name == ATTACK:
            sent = sum(value.numel() for one in (seen, *seen.earlier) for value in one.update.delta.values())
        part = part_of(tick, done, len(cases))
        trials[name], guesses[name], missing = _attack_and_judge(seen, case, scene, plan, candidates, part)
        unscored |= missing
    if "positive" in plan.controls and CONTROL not in trials:  # the audited attack already had every advantage
        trials[CONTROL], guesses[CONTROL] = trials[ATTACK], guesses[ATTACK]
    setting = _setting(scene, plan, candidates, sent)
    record = Record(
        key="",
        name="",
        seed=plan.seed,
        status=trials[ATTACK].status,
        verdict=decide(trials, setting, plan.criteria.alpha),
        setting=setting,
        trials=trials,
        seconds=time.perf_counter() - started,
        spec={},
        environment=environment(scene.secret.x.device),
        diagnosis=(*diagnose(trials, setting), *explain(unscored)),
    )
    return Outcome(record, Images(scene.secret.x.cpu(), guesses))


def _observe(name: str, case: _Case, scene: Scene, plan: Plan, public: Batch | None) -> Observation:
    if name == ATTACK and scene.update is not None:
        client = protect(plan.client, case.defenses if Capability.DEFENSE in case.threat else ())
        return observe_update(scene.model, scene.update, threat=case.threat, client=client, labels=scene.secret.y, public=public)
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


def _cases(scene: Scene, plan: Plan, decoy: Batch | None) -> dict[str, _Case]:
    """What is run. The floor is the same attack on an update of other data: what it scores, it scores without the secret."""
    control = plan.control or (plan.attack.informed() if isinstance(plan.attack, Informable) else plan.attack)
    informed = ThreatModel(plan.threat.name, plan.threat.grants | {Capability.COUNT, Capability.PUBLIC_DATA})
    cases = {ATTACK: _Case(scene.secret, plan.attack, plan.threat, plan.defenses)}
    if decoy is not None and "floor" in plan.controls:
        cases[FLOOR] = _Case(decoy, plan.attack, plan.threat, plan.defenses)
    if "blind" in plan.controls:
        cases[BLIND] = _Case(scene.secret, plan.blind, informed, plan.defenses)
    if "positive" in plan.controls and (plan.defenses or control != plan.attack or scene.update is not None):
        cases[CONTROL] = _Case(scene.secret, control, ADAPTIVE, ())
    return cases


def _split(scene: Scene, plan: Plan) -> tuple[Batch | None, Tensor | None, Batch | None]:
    """Split other data, by chance, into a decoy batch, images to tell the truth from, and what an adversary may hold."""
    if scene.public is None or len(scene.public) < 2 * len(scene.secret):
        return None, None, scene.public
    order = torch.randperm(len(scene.public), generator=stream(plan.seed, "public")).to(scene.public.x.device)
    size, others = len(scene.secret), plan.criteria.candidates - 1
    decoy, candidates, rest = order[:size], order[size : size + others], order[size + others :]
    return scene.public[decoy], scene.public.x[candidates], scene.public[rest] if len(rest) else None


def _attack_and_judge(
    seen: Observation, case: _Case, scene: Scene, plan: Plan, candidates: Tensor | None, tick: Tick
) -> tuple[Trial, Tensor, Mapping[str, str]]:
    attack, started = repr(case.attack), time.perf_counter()
    try:
        guess = case.attack.run(seen, rng=stream(plan.seed, "attack"), tick=tick)
    except OutOfScope as reason:
        nothing = torch.full_like(scene.secret.x, torch.nan).cpu()
        return Trial(attack, "out_of_scope", time.perf_counter() - started, str(reason)), nothing, {}
    seconds = time.perf_counter() - started
    judged = judge(scene.secret, guess.batch, candidates=candidates, metrics=plan.metrics, trained=_trained(case, scene, plan))
    at_truth = case.attack.loss_at(seen, case.batch) if isinstance(case.attack, Diagnosable) else torch.tensor(torch.nan)
    trial = Trial(
        attack,
        guess.status.value,
        seconds,
        " ".join(guess.notes),
        scores={name: _numbers(values) for name, values in judged.scores.items()},
        ranks=None if judged.ranks is None else tuple(judged.ranks.tolist()),
        label_accuracy=judged.label_accuracy,
        losses=_numbers(guess.losses),
        loss_at_truth=_numbers(at_truth.reshape(1))[0],
    )
    return trial, judged.matched.cpu(), judged.unscored


def _trained(case: _Case, scene: Scene, plan: Plan) -> Batch | None:
    if scene.update is not None:
        return None  # the chance with which the update was made was not recorded
    return trained_on(scene.model, scene.secret, client=plan.client, defenses=case.defenses, seed=plan.seed)


def _setting(scene: Scene, plan: Plan, candidates: Tensor | None, sent: int) -> Setting:
    names = scene.class_names or tuple(str(label) for label in range(scene.model.inputs.classes))
    return Setting(
        threat=plan.threat.name,
        granted=tuple(sorted(plan.threat.grants)),
        withheld=tuple(sorted(set(Capability) - plan.threat.grants)),
        examples=len(scene.secret),
        input_shape=scene.model.inputs.shape,
        classes=scene.model.inputs.classes,
        class_names=tuple(names[int(label)] for label in scene.secret.y),
        parameters=sum(value.numel() for value in scene.model.params.values()),
        sent=sent,
        client=repr(plan.client) if scene.update is None else f"{plan.client!r}, for floor and controls; the update was recorded",
        defenses=tuple(repr(defense) for defense in plan.defenses),
        rounds=plan.rounds.count,
        candidates=None if candidates is None else len(candidates) + 1,
        threshold=plan.criteria.threshold,
        margin=plan.criteria.margin,
    )


def _numbers(values: Tensor) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in values.tolist())
