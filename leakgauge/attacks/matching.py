"""The engine: argmax over x of log p(update | x) + log p(x), composed of replaceable parts.

Every optimization attack is this search with its own likelihood, priors, space, replay, labels and search (Balunovic et al.,
ICLR 2022, arXiv 2111.04706, Sec. 4).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple, TypeVar, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.ball import Ball
from leakgauge.attacks.copies import EpochCopies
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.labels.over_rounds import infer
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.settling import settle
from leakgauge.core import tree
from leakgauge.core.abilities import ROUNDS, Adjustable, Implying, used_by
from leakgauge.core.algorithm import Count, NonNegative, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Attack, Found, Labels, Likelihood, Point, Prior, Replay, Search, Space
from leakgauge.core.rng import fork
from leakgauge.core.types import Batch, Capability, Observation, Params, Reconstruction, Rng, Tick, part_of

_Part = TypeVar("_Part", Likelihood, Replay)


class _Candidate(NamedTuple):
    found: Found
    batch: Batch
    loss: float  # what restarts are compared by
    notes: tuple[str, ...]


@final
@algorithm
class Matching:
    """Searches the batch whose replayed update is likeliest, from `restarts` random starts; the lowest loss wins.

    A search, and the restarting, ends early at a loss of `enough` times that of a vanishing update. With `group`, each restart is a
    group of members that are searched together, and with `copies`, a candidate has one copy of the batch per epoch. With `ball`, a
    candidate is as good as what lies around it on average, and with `annealing`, the weight of the likelihood grows. Labels that a
    rule leaves open (floating logits) join the unknowns, and so do those of a likelihood or a replay that has some (`Adjustable`).
    Rounds that were seen of one batch add up.
    """

    likelihood: Likelihood
    priors: tuple[Prior, ...] = ()
    space: Space
    replay: Replay
    labels: Labels
    search: Search
    group: GroupConsistency | None = None
    copies: EpochCopies | None = None
    ball: Ball | None = None
    annealing: Annealing | None = None
    restarts: Count = 1
    enough: NonNegative = 0.0

    def __post_init__(self) -> None:
        if self.copies is not None and isinstance(self.replay, Granted):
            raise UsageError("Matching.copies: the replay granted takes them for one batch; take unrolled, or leave copies out")
        if self.group is not None and self.annealing is not None:
            raise UsageError("Matching.annealing: a group ends with one member, from which it cannot go on; leave one of them out")

    @property
    def needs(self) -> frozenset[Capability]:
        """What the parts need; a count that is withheld is estimated."""
        return self.replay.needs | self.labels.needs

    @property
    def uses(self) -> frozenset[str]:
        """What the parts use, and all rounds."""
        return used_by(self.likelihood, *self.priors, self.space, self.replay, self.labels) | {ROUNDS}

    def informed(self) -> Attack:
        """The same attack with known labels and the granted procedure."""
        return replace(self, labels=Known(), replay=Granted(), copies=None)

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return the guess with the lowest loss. Raises OutOfScope where a part does not apply."""
        seen, notes = settle(seen)
        attack, more = self._bound(seen)
        return attack._run(seen, (*notes, *more), rng, tick)

    def _run(self, seen: Observation, notes: tuple[str, ...], rng: Rng, tick: Tick) -> Reconstruction:
        goal = self._goal(seen)
        candidates: list[_Candidate] = []
        for restart in range(self.restarts):
            candidates.append(self._search(seen, restart, goal, fork(rng), part_of(tick, restart, self.restarts)))
            if candidates[-1].found.loss <= goal:
                break
        tick(1.0)
        best = min(candidates, key=lambda one: math.inf if math.isnan(one.loss) else one.loss)
        losses = torch.tensor([one.loss for one in candidates])
        return Reconstruction(best.batch, losses, best.found.trace, best.found.status, (*notes, *best.notes))

    def loss_at(self, seen: Observation, batch: Batch, /) -> Tensor:
        """The objective at a batch: 0 at the truth, up to the priors, for a replay that repeats the client."""
        settled = settle(seen).seen
        counted = replace(settled, update=replace(settled.update, examples=len(batch)))  # what was guessed may be wrong
        candidate = batch if self.copies is None else self.copies.repeated(batch)
        attack, _ = self._bound(counted)
        return attack._loss(counted, candidate, attack.likelihood, attack.replay)

    def _bound(self, seen: Observation) -> tuple[Matching, tuple[str, ...]]:
        """This attack with a likelihood that fits what is seen, and what was noticed."""
        if not isinstance(self.likelihood, Implying):
            return self, ()
        likelihood, replay, notes = self.likelihood.bound(seen, self.replay)
        return replace(self, likelihood=likelihood, replay=replay), notes

    def _loss(self, seen: Observation, batch: Batch, likelihood: Likelihood, replay: Replay, weight: float = 1.0) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # the only attention kernel that can be differentiated twice on every device
            rounds = (seen, *seen.earlier)
            loss = weight * torch.stack([likelihood(_whole(replay(one, batch), one), one.update.delta) for one in rounds]).sum()
            for prior in self.priors:
                loss = loss + prior(batch, seen)
            return loss if self.copies is None else loss + self.copies.penalty(batch)

    def _goal(self, seen: Observation) -> float:
        if isinstance(self.likelihood, Adjustable):  # a scale that vanishes reaches any goal
            return 0.0
        rounds = [one.update.delta for one in (seen, *seen.earlier)]
        return self.enough * sum(float(self.likelihood(tree.apply(torch.zeros_like, delta), delta)) for delta in rounds)

    def _search(self, seen: Observation, restart: int, goal: float, rng: Rng, tick: Tick) -> _Candidate:
        count = seen.count
        labels, doubts = infer(self.labels, seen, count, rng=fork(rng))
        if self.copies is not None:
            count, labels = count * self.copies.epochs, self.copies.labels(labels, seen, rng=fork(rng))
        is_joint = labels.is_floating_point()
        parts = [part for part in (self.likelihood, self.replay) if isinstance(part, Adjustable)]
        adjusted = {name: value for part in parts for name, value in part.unknowns(seen, restart=restart).items()}

        def batch_at(point: Point) -> Batch:
            return Batch(self.space.decode(point["x"], seen), point["y"].softmax(dim=-1) if is_joint else labels)

        def objective(point: Point, weight: float = 1.0) -> Tensor:
            likelihood, replay = _at(self.likelihood, point), _at(self.replay, point)
            nearby = [batch_at(point)] if self.ball is None else self.ball.around(batch_at(point), rng=rng)
            return torch.stack([self._loss(seen, one, likelihood, replay, weight) for one in nearby]).mean()

        def project(point: Point) -> Point:
            return {**point, "x": self.space.project(point["x"], seen)}

        def start() -> Point:
            x = self.space.start(seen, count, rng=fork(rng))
            return {"x": x, **({"y": labels} if is_joint else {}), **adjusted}

        if self.group is not None:
            starts = [start() for _ in range(self.group.members)]
            found = self.group.minimize(self.search, objective, starts, project=project, goal=goal, rng=fork(rng), tick=tick)
        elif self.annealing is not None:
            found = self.annealing.minimize(self.search, objective, start(), project=project, goal=goal, rng=fork(rng), tick=tick)
        else:
            found = self.search.minimize(objective, start(), project=project, goal=goal, rng=fork(rng), tick=tick)
        notes = (*doubts, *(note for part in parts for note in part.remarks(adjusted, found.point)))
        loss = found.loss
        with torch.no_grad():
            batch = batch_at(found.point)
        if isinstance(self.likelihood, Adjustable):
            # Losses at different scales say nothing of each other: compare what the likelihood is with its scale at best.
            loss = float(self._loss(seen, batch, self.likelihood, _at(self.replay, found.point)).detach())
        return _Candidate(found, batch if self.copies is None else self.copies.folded(batch), loss, notes)


def _whole(replayed: Params, seen: Observation) -> Params:
    """The replayed update, with zeros for what was sent and no candidate moves, such as a parameter that is left unused."""
    return {**{name: torch.zeros_like(value) for name, value in seen.update.delta.items() if name not in replayed}, **replayed}


def _at(part: _Part, point: Point) -> _Part:
    return part.at(point) if isinstance(part, Adjustable) else part
