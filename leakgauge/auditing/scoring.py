"""What each trial is worth: scores, ranks, chance and losses, all trials alike, once all of them are over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from leakgauge.auditing.evidence import Lineup, weigh
from leakgauge.auditing.judging import judge, label_accuracy
from leakgauge.auditing.lineup import Sides
from leakgauge.auditing.outcome import unit
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.record import Trial
from leakgauge.auditing.rounds import trained_on
from leakgauge.auditing.trials import Case, Tried
from leakgauge.core.abilities import Diagnosable, Keeping
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Capability, Params


def lineup_of(scene: Scene, plan: Plan, others: Batch | None, *, is_labeled: bool) -> Lineup:
    """Return the truths among `others`, in [0, 1], with what the adversary was told of each."""
    trained = _trained(Case(scene.secret, plan.attack, plan.threat, plan.defenses), scene, plan)
    inputs, secret = scene.model.inputs, scene.secret
    beside = secret[:0] if others is None else others
    return Lineup(
        truths=unit(secret.x, inputs),
        classes=secret.y.cpu() if is_labeled else torch.zeros(len(secret), dtype=torch.long),
        others=unit(beside.x, inputs),
        other_classes=beside.y.cpu() if is_labeled else torch.zeros(len(beside), dtype=torch.long),
        trained=None if trained is None else unit(trained.x, inputs),
    )


def scored(
    tried: Tried, scene: Scene, plan: Plan, lineup: Lineup, floors: Sequence[Tensor], sides: Sides
) -> tuple[Trial, Tensor, Mapping[str, str]]:
    """Return what a trial is worth, its guesses in the order of the truths, and why metrics have no scores.

    `floors` are the guesses of other trials that knew nothing.
    """
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
        trained=None if trained is None else Batch(unit(trained.x, inputs), trained.y),
    )
    evidence = weigh(lineup, guess.x, floors, threshold=plan.criteria.threshold, margin=plan.criteria.margin)
    trial = Trial(
        repr(case.attack),
        tried.guess.status.value,
        tried.seconds,
        " ".join(tried.guess.notes),
        scores={name: numbers(values) for name, values in judged.scores.items()},
        ranks=None if evidence.ranks is None else tuple(evidence.ranks.tolist()),
        chance=evidence.chance,
        bars={name: numbers(values) for name, values in evidence.bars.items()},
        rivals={name: numbers(values) for name, values in evidence.rivals.items()},
        label_accuracy=judged.label_accuracy,
        label_chance=_label_chance(judged.label_accuracy, guess.y, scene, case, sides, plan.seed),
        losses=numbers(tried.guess.losses),
        loss_at_truth=_loss_at(tried, case.batch),
        estimates={name: _estimated(name, value, case) for name, value in tried.guess.estimates.items()},
        uncovered=_uncovered(tried.guess.uncovered, scene, case),
        loss_blind=_loss_at(tried, replace(case.batch, x=torch.full_like(case.batch.x, (inputs.low + inputs.high) / 2))),
    )
    return trial, judged.matched.cpu(), judged.unscored


def _estimated(name: str, value: float, case: Case) -> tuple[float | None, float | None]:
    """An estimate of a setting, and the setting itself, where one defense alone has it."""
    kind, _, setting = name.partition(".")
    own = [getattr(defense, setting, None) for defense in case.defenses if type(defense).__name__ == kind]
    return value, float(own[0]) if len(own) == 1 and own[0] is not None else None


def _uncovered(found: Params, scene: Scene, case: Case) -> dict[str, float | None]:
    """How far off an attack takes what the client kept to be, where a defense keeps something of that name."""
    kept = {
        name: value
        for defense in case.defenses
        if found and isinstance(defense, Keeping)
        for name, value in defense.kept(scene.model).items()
    }
    return {
        name: numbers(((value - kept[name]).norm() / kept[name].norm())[None])[0] for name, value in found.items() if name in kept
    }


def _loss_at(tried: Tried, batch: Batch) -> float | None:
    attack = tried.case.attack
    return numbers(attack.loss_at(tried.seen, batch).reshape(1))[0] if isinstance(attack, Diagnosable) else None


def _label_chance(accuracy: float, guessed: Tensor, scene: Scene, case: Case, sides: Sides, seed: int) -> float | None:
    """The share of batches of other examples whose labels agree with the guess as well as the secret's do, this one included."""
    if Capability.LABELS in case.threat or scene.public is None or len(scene.public) < len(scene.secret):
        return None
    rng, size = stream(seed, "labels"), len(scene.secret)
    others = (scene.public.y.cpu()[torch.randperm(len(scene.public), generator=rng)[:size]] for _ in range(_DRAWS))
    as_good = sum(label_accuracy(other, guessed) >= accuracy for other in others)
    return (1 + as_good) / (1 + _DRAWS)


_DRAWS = 999


def _trained(case: Case, scene: Scene, plan: Plan) -> Batch | None:
    if scene.update is not None:
        return None  # the chance with which the update was made was not recorded
    return trained_on(scene.model, scene.secret, client=plan.client, defenses=case.defenses, seed=plan.seed)


def numbers(values: Tensor) -> tuple[float | None, ...]:
    """Return values [n] as a record holds them: None for what is not finite."""
    return tuple(value if math.isfinite(value) else None for value in values.tolist())
