"""The pipeline, on one page: observe, attack, judge, and the controls without which a score means nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.auditing.environment import environment
from leakgauge.auditing.evidence import Lineup, weigh
from leakgauge.auditing.fidelity import in_units_of, mismatch
from leakgauge.auditing.judging import explain, judge, label_accuracy
from leakgauge.auditing.lineup import Sides, split
from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, Record, Setting, Trial
from leakgauge.auditing.rounds import Rounds, observe_rounds, trained_on
from leakgauge.auditing.verdict import decide, diagnose
from leakgauge.core.abilities import ROUNDS, Diagnosable, Informable, used_by
from leakgauge.core.algorithm import Count, NonNegative, Positive, Share, algorithm
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Attack, Client, Defense, Metric
from leakgauge.core.rng import stream
from leakgauge.core.threat import ADAPTIVE, observe_update, protect, require
from leakgauge.core.types import (
    Batch,
    Capability,
    Inputs,
    Model,
    Observation,
    Reconstruction,
    ThreatModel,
    Tick,
    Update,
    no_tick,
    part_of,
)

Control = Literal["floor", "blind", "positive"]
CONTROLS: frozenset[Control] = frozenset({"floor", "blind", "positive"})
"""What is run beside an attack, so that its score means something."""


@final
@algorithm
class Criteria:
    """When a score counts as leakage: fixed before the attack, the same for every attack.

    An example is recovered if its PSNR, plain or with brightness and contrast fitted, reaches `threshold` (dB) and exceeds by
    `margin` (dB) that of every floor and of every other image. Whether the guesses know the secret at all is a test at level
    `alpha`: how near they come to it, against up to `candidates` - 1 other images.
    """

    threshold: Positive = 20.0
    margin: NonNegative = 3.0
    candidates: Count = 1000
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
    """What a report shows: each [n, *shape] on the CPU, guesses in the order of the truths they were matched to.

    Pixels are in [0, 1], whatever range the model takes.
    """

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

    All trials are over before the first is judged, and before an objective is evaluated at the truth. Raises UsageError if the
    attack needs what the threat model does not grant, or the update is not sound.
    """
    require(plan.attack.needs, plan.threat, f"the attack {type(plan.attack).__name__}")
    started = time.perf_counter()
    is_labeled = Capability.LABELS in plan.threat
    rng = stream(plan.seed, "public")
    sides = split(scene.public, scene.secret, plan.criteria.candidates, is_labeled=is_labeled, rng=rng)
    cases = _cases(scene, plan, sides.decoy)
    tried: dict[str, _Tried] = {}
    for done, (name, case) in enumerate(cases.items()):
        seen = _observe(name, case, scene, plan, sides.held)
        tried[name] = _attack(seen, case, plan, part_of(tick, done, len(cases)))
    lineup = _lineup(scene, plan, sides.lineup, is_labeled=is_labeled)
    trials: dict[str, Trial] = {}
    guesses: dict[str, Tensor] = {}
    unscored: dict[str, str] = {}
    for name, one in tried.items():
        floors = [tried[floor].pixels(scene) for floor in (FLOOR, BLIND) if floor in tried and floor != name and name != BLIND]
        trials[name], guesses[name], missing = _judged(one, scene, plan, lineup, floors, sides)
        unscored |= missing
    if "positive" in plan.controls and CONTROL not in trials:  # the audited attack already had every advantage
        trials[CONTROL], guesses[CONTROL] = trials[ATTACK], guesses[ATTACK]
    setting = _setting(scene, plan, lineup, tried, cases)
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
    return Outcome(record, Images(_unit(scene.secret.x, scene.model.inputs), guesses))


def _observe(name: str, case: _Case, scene: Scene, plan: Plan, public: Batch | None) -> Observation:
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


@final
@dataclass(frozen=True)
class _Tried:
    """What came of an attack: a guess, or the reason why there is none."""

    case: _Case
    seen: Observation
    guess: Reconstruction | None
    reason: str
    seconds: float

    def pixels(self, scene: Scene) -> Tensor:
        """The guesses [m, *shape] in [0, 1] on the CPU; none where there is no guess."""
        shape = scene.secret.x.shape[1:]
        return torch.empty(0, *shape) if self.guess is None else _unit(self.guess.batch.x, scene.model.inputs).reshape(-1, *shape)


def _attack(seen: Observation, case: _Case, plan: Plan, tick: Tick) -> _Tried:
    started = time.perf_counter()
    try:
        guess, reason = case.attack.run(seen, rng=stream(plan.seed, "attack"), tick=tick), ""
    except OutOfScope as error:
        guess, reason = None, str(error)
    return _Tried(case, seen, guess, reason, time.perf_counter() - started)


def _unit(x: Tensor, inputs: Inputs) -> Tensor:
    """Pixels in [0, 1] on the CPU, whatever range a model takes; what lies outside goes to its end, what is no number is nan."""
    x = x.detach().cpu().float()
    return torch.where(x.isfinite(), ((x - inputs.low) / (inputs.high - inputs.low)).clamp(0, 1), torch.nan)


def _lineup(scene: Scene, plan: Plan, others: Batch | None, *, is_labeled: bool) -> Lineup:
    trained = _trained(_Case(scene.secret, plan.attack, plan.threat, plan.defenses), scene, plan)
    inputs, secret = scene.model.inputs, scene.secret
    beside = secret[:0] if others is None else others
    return Lineup(
        truths=_unit(secret.x, inputs),
        classes=secret.y.cpu() if is_labeled else torch.zeros(len(secret), dtype=torch.long),
        others=_unit(beside.x, inputs),
        other_classes=beside.y.cpu() if is_labeled else torch.zeros(len(beside), dtype=torch.long),
        trained=None if trained is None else _unit(trained.x, inputs),
    )


def _judged(
    tried: _Tried, scene: Scene, plan: Plan, lineup: Lineup, floors: Sequence[Tensor], sides: Sides
) -> tuple[Trial, Tensor, Mapping[str, str]]:
    case, inputs = tried.case, scene.model.inputs
    if tried.guess is None:
        nothing = torch.full_like(lineup.truths, torch.nan)
        return Trial(repr(case.attack), "out_of_scope", tried.seconds, tried.reason), nothing, {}
    guess = Batch(tried.pixels(scene), tried.guess.batch.y)
    trained = _trained(case, scene, plan)
    judged = judge(
        Batch(lineup.truths, scene.secret.y),
        guess,
        candidates=None,
        metrics=plan.metrics,
        trained=None if trained is None else Batch(_unit(trained.x, inputs), trained.y),
    )
    evidence = weigh(lineup, guess.x, floors, threshold=plan.criteria.threshold, margin=plan.criteria.margin)
    trial = Trial(
        repr(case.attack),
        tried.guess.status.value,
        tried.seconds,
        " ".join(tried.guess.notes),
        scores={name: _numbers(values) for name, values in judged.scores.items()},
        ranks=None if evidence.ranks is None else tuple(evidence.ranks.tolist()),
        chance=evidence.chance,
        bars={name: _numbers(values) for name, values in evidence.bars.items()},
        label_accuracy=judged.label_accuracy,
        label_chance=_label_chance(judged.label_accuracy, guess.y, scene, case, sides, plan.seed),
        losses=_numbers(tried.guess.losses),
        loss_at_truth=_loss_at(tried, case.batch),
        loss_blind=_loss_at(tried, replace(case.batch, x=torch.full_like(case.batch.x, (inputs.low + inputs.high) / 2))),
    )
    return trial, judged.matched.cpu(), judged.unscored


def _loss_at(tried: _Tried, batch: Batch) -> float | None:
    attack = tried.case.attack
    return _numbers(attack.loss_at(tried.seen, batch).reshape(1))[0] if isinstance(attack, Diagnosable) else None


def _label_chance(accuracy: float, guessed: Tensor, scene: Scene, case: _Case, sides: Sides, seed: int) -> float | None:
    """The share of batches of other examples whose labels agree with the guess as well as the secret's do, this one included."""
    if Capability.LABELS in case.threat or scene.public is None or len(scene.public) < len(scene.secret):
        return None
    rng, size = stream(seed, "labels"), len(scene.secret)
    others = (scene.public.y.cpu()[torch.randperm(len(scene.public), generator=rng)[:size]] for _ in range(_DRAWS))
    as_good = sum(label_accuracy(other, guessed) >= accuracy for other in others)
    return (1 + as_good) / (1 + _DRAWS)


_DRAWS = 999


def _trained(case: _Case, scene: Scene, plan: Plan) -> Batch | None:
    if scene.update is not None:
        return None  # the chance with which the update was made was not recorded
    return trained_on(scene.model, scene.secret, client=plan.client, defenses=case.defenses, seed=plan.seed)


def _setting(scene: Scene, plan: Plan, lineup: Lineup, tried: Mapping[str, _Tried], cases: Mapping[str, _Case]) -> Setting:
    names = scene.class_names or tuple(str(label) for label in range(scene.model.inputs.classes))
    seen, control = tried[ATTACK].seen, cases.get(CONTROL)
    wrong = ""
    if scene.update is not None:
        wrong = mismatch(scene.update, scene.model, scene.secret, client=plan.client, defenses=plan.defenses, seed=plan.seed)
    is_same = not plan.defenses and not wrong and control is not None and control.attack.needs <= plan.threat.grants
    return Setting(
        threat=plan.threat.name,
        granted=tuple(sorted(plan.threat.grants)),
        withheld=tuple(sorted(set(Capability) - plan.threat.grants)),
        examples=len(scene.secret),
        input_shape=scene.model.inputs.shape,
        classes=scene.model.inputs.classes,
        class_names=tuple(names[int(label)] for label in scene.secret.y),
        parameters=sum(value.numel() for value in scene.model.params.values()),
        sent=sum(value.numel() for one in (seen, *seen.earlier) for value in one.update.delta.values()),
        client=repr(plan.client) if scene.update is None else f"{plan.client!r}, for floor and controls; the update was recorded",
        defenses=tuple(repr(defense) for defense in plan.defenses),
        rounds=plan.rounds.count,
        candidates=len(lineup.others) + 1 if len(lineup.others) else None,
        least_chance=lineup.least_chance if len(lineup.others) else None,
        threshold=plan.criteria.threshold,
        margin=plan.criteria.margin,
        is_same_update=is_same,
        mismatch=wrong,
        unused=tuple(sorted(map(str, _offered(seen, plan) - used_by(plan.attack)))),
    )


def _offered(seen: Observation, plan: Plan) -> frozenset[str]:
    """What was granted and is there: some defense, another round, labels, public data, statistics of BatchNorm."""
    there = {
        Capability.DEFENSE: bool(plan.defenses) and Capability.DEFENSE in plan.threat,
        Capability.LABELS: seen.labels is not None,
        Capability.PUBLIC_DATA: seen.public is not None,
        Capability.BUFFERS: bool(seen.update.buffers),
        ROUNDS: bool(seen.earlier),
    }
    return frozenset(grant for grant, is_there in there.items() if is_there)


def _numbers(values: Tensor) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in values.tolist())
