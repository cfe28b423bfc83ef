"""The engine: argmax over x of log p(update | x) + log p(x), composed of replaceable parts.

Every optimization attack is this search with its own likelihood, priors, space, replay, labels and search (Balunovic et al.,
ICLR 2022, arXiv 2111.04706, Sec. 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, final

import torch
from torch import Tensor

from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.ball import Ball
from leakgauge.attacks.copies import EpochCopies
from leakgauge.attacks.deep import Deep
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.labels.over_rounds import infer
from leakgauge.attacks.limits import drawn, nearest
from leakgauge.attacks.objective import Problem
from leakgauge.attacks.refinement import Refinement
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.restarting import Restart, Searching
from leakgauge.attacks.settling import settle
from leakgauge.attacks.terms import Terms
from leakgauge.core.abilities import (
    ROUNDS,
    Adjustable,
    Deepening,
    Estimating,
    Implying,
    Learned,
    Opening,
    Uncovering,
    used_by,
)
from leakgauge.core.algorithm import Count, NonNegative, algorithm
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.lock import is_closed
from leakgauge.core.protocols import Attack, Found, Labels, Likelihood, Point, Prior, Replay, Search, Space
from leakgauge.core.rng import fork
from leakgauge.core.types import Batch, Capability, Inputs, Observation, Params, Reconstruction, Rng, Tick, part_of


class _Bound(NamedTuple):
    """An attack with parts that fit what is seen, what was noticed, and what was estimated."""

    attack: Matching
    seen: Observation
    notes: tuple[str, ...]
    estimates: Mapping[str, float]


class _Candidate(NamedTuple):
    """One of the searches when it has ended."""

    found: Found
    batch: Batch
    loss: float  # what restarts are compared by
    notes: tuple[str, ...]
    problem: Problem
    uncovered: Params


@final
@algorithm
class Matching:
    """Searches the batch whose replayed update is likeliest, from `restarts` random starts; the lowest loss wins.

    A search, and the restarting, ends early at a loss of `enough` times that of a vanishing update. With `group`, each restart is a
    group of members that are searched together, and with `copies`, a candidate has one copy of the batch per epoch. With `ball`, a
    candidate is as good as what lies around it on average, and with `annealing`, the weight of the likelihood grows. With
    `refinement`, the search goes on from a generator's best image towards pixels. `deep` has other parts for deep networks.
    Labels that a rule leaves open (floating logits) join the unknowns, and so do those of a likelihood or a replay that has some
    (`Adjustable`). Rounds that were seen of one batch add up.
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
    refinement: Refinement | None = None
    deep: Deep | None = None
    restarts: Count = 1
    enough: NonNegative = 0.0

    def __post_init__(self) -> None:
        if self.copies is not None and isinstance(self.replay, Granted):
            raise UsageError("Matching.copies: the replay granted takes them for one batch; take unrolled, or leave copies out")
        if self.refinement is not None and (self.copies is not None or self.group is not None):
            raise UsageError("Matching.refinement: goes on from one batch, not from copies or a group; leave one of them out")
        if self.group is not None and any(part is not None and part.annealing is not None for part in (self, self.deep)):
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
        """The same attack with known labels and the granted procedure, out of a generator's images into pixels."""
        refinement = Refinement() if isinstance(self.space, Deepening) and self.refinement is None else self.refinement
        return replace(self, labels=Known(), replay=Granted(), copies=None, refinement=refinement)

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return the guess with the lowest loss. Raises OutOfScope where a part does not apply."""
        return self.run_each([seen], rngs=[rng], tick=tick)[0]

    def run_each(self, seen: Sequence[Observation], /, *, rngs: Sequence[Rng], tick: Tick) -> list[Reconstruction]:
        """Return the guess for each of several updates: those of one model are searched side by side where that can be."""
        bound = [self._bound(*settle(one)) for one in seen]
        parts = self.restarts + (self.refinement is not None)
        candidates = self._candidates_each(bound, rngs, lambda share: tick(share * self.restarts / parts))
        last = part_of(tick, parts - 1, parts)
        guesses = [
            one.attack._best(one, found, rng, part_of(last, target, len(bound)))
            for target, (one, found, rng) in enumerate(zip(bound, candidates, rngs, strict=True))
        ]
        tick(1.0)
        return guesses

    def _candidates_each(self, bound: Sequence[_Bound], rngs: Sequence[Rng], tick: Tick) -> list[list[_Candidate]]:
        jobs = list(enumerate(zip(bound, rngs, strict=True)))
        restarts: list[Iterable[Restart]] = [one.attack._restarts(one.seen, target, rng) for target, (one, rng) in jobs]
        if len(bound) > 1 and self.refinement is None and all(one.attack is self for one in bound):
            restarts = [list(each) for each in restarts]
            every, searching = list(chain.from_iterable(restarts)), Searching(self.search, self.group, self.annealing)
            if searching.crosses(every):
                found = iter(searching.together(every, tick=tick))
                return [[self._ended(one, next(found)) for one in each] for each in restarts]
        return [
            one.attack._candidates(iter(each), part_of(tick, target, len(bound)))
            for (target, (one, _)), each in zip(jobs, restarts, strict=True)
        ]

    def _candidates(self, restarts: Iterator[Restart], tick: Tick) -> list[_Candidate]:
        searching = Searching(self.search, self.group, self.annealing)
        first = next(restarts)
        if self.restarts > 1 and searching.depends(first):
            every = [first, *restarts]
            return list(map(self._ended, every, searching.together(every, tick=tick)))
        candidates: list[_Candidate] = []
        for place, one in enumerate(chain([first], restarts)):
            candidates.append(self._ended(one, searching.alone(one, tick=part_of(tick, place, self.restarts))))
            if candidates[-1].found.loss <= one.goal:
                break
        return candidates

    def _best(self, bound: _Bound, candidates: Sequence[_Candidate], rng: Rng, tick: Tick) -> Reconstruction:
        """The guess of one update."""
        losses = torch.tensor([one.loss for one in candidates])
        row = int(losses.nan_to_num(nan=math.inf).argmin())
        best = candidates[row]
        found, batch = best.found, best.batch
        if self.refinement is not None:
            found, batch = self.refinement.refine(found, best.problem, rng=fork(rng), tick=tick)
            losses[row] = min(best.loss, found.loss)
        notes = (*bound.notes, *best.notes)
        return Reconstruction(batch, losses, found.trace, found.status, notes, estimates=bound.estimates, uncovered=best.uncovered)

    def loss_at(self, seen: Observation, batch: Batch, /) -> Tensor:
        """The objective at a batch: 0 at the truth, up to the priors, for a replay that repeats the client."""
        settled = settle(seen).seen
        counted = replace(settled, update=replace(settled.update, examples=len(batch)))  # what was guessed may be wrong
        candidate = batch if self.copies is None else self.copies.repeated(batch)
        return self._bound(counted, ()).attack.terms.loss(counted, candidate)

    def knows(self, x: Tensor, inputs: Inputs, /) -> Tensor:
        """Return [n], whether the space or a prior has learned from an example."""
        known = [
            part.knows(x, inputs).to(x.device) for part in (self.space, self.likelihood, *self.priors) if isinstance(part, Learned)
        ]
        return torch.stack([torch.zeros(len(x), dtype=torch.bool, device=x.device), *known]).any(dim=0)

    def sample(self, seen: Observation, count: int, /, *, rng: Rng) -> Batch | None:
        """Return examples that the space makes by chance; None where it makes anything."""
        return drawn(self.space, seen, count, rng=rng)

    def nearest(self, seen: Observation, batch: Batch, /, *, rng: Rng, tick: Tick) -> Batch | None:
        """Return the examples of the space that are nearest to a batch in pixels; None where it holds any."""
        return nearest(self.space, seen, batch, rng=rng, tick=tick)

    def _bound(self, seen: Observation, notes: tuple[str, ...]) -> _Bound:
        instead = self.deep.instead(seen.model) if self.deep is not None else {}
        attack, estimates = replace(self, **instead) if instead else self, dict[str, float]()
        if isinstance(attack.likelihood, Implying):
            likelihood, replay, more = attack.likelihood.bound(seen, attack.replay)
            attack, notes = replace(attack, likelihood=likelihood, replay=replay), (*notes, *more)
        if isinstance(attack.replay, Estimating):
            fixed = attack.replay.fixed(seen)
            attack, estimates = replace(attack, replay=fixed.replay), dict(fixed.estimates)
        if is_closed(seen) and not isinstance(attack.replay, Opening):
            raise OutOfScope(
                f"the client keeps what sets the model's locks, which the replay {type(attack.replay).__name__} takes as they are "
                "in the model that is seen, and so for others; use the replay unlocking"
            )
        return _Bound(attack, seen, notes, estimates)

    @property
    def terms(self) -> Terms:
        """The terms of the objective."""
        return Terms(self.likelihood, self.priors, self.replay, self.copies)

    def _goal(self, seen: Observation) -> float:
        # A scale that vanishes reaches any goal.
        return 0.0 if isinstance(self.likelihood, Adjustable) else self.enough * self.terms.vanishing(seen)

    @property
    def _adjustable(self) -> list[Adjustable]:
        return [part for part in (self.likelihood, self.replay) if isinstance(part, Adjustable)]

    def _restarts(self, seen: Observation, target: int, rng: Rng) -> Iterator[Restart]:
        goal = self._goal(seen)
        return (self._restart(seen, restart, fork(rng))._replace(goal=goal, target=target) for restart in range(self.restarts))

    def _restart(self, seen: Observation, restart: int, rng: Rng) -> Restart:
        count = seen.count
        labels, doubts = infer(self.labels, seen, count, rng=fork(rng))
        if self.copies is not None:
            count, labels = count * self.copies.epochs, self.copies.labels(labels, seen, rng=fork(rng))
        problem = Problem(seen, self.terms, self.space, labels, self.ball, rng)
        adjusted = {name: value for part in self._adjustable for name, value in part.unknowns(seen, restart=restart).items()}

        def start() -> Point:
            x = self.space.start(seen, count, rng=fork(rng))
            return {"x": x, **({"y": labels} if problem.is_joint else {}), **adjusted}

        members = 1 if self.group is None else self.group.members
        return Restart(problem, tuple(start() for _ in range(members)), adjusted, doubts, fork(rng))

    def _ended(self, one: Restart, found: Found) -> _Candidate:
        problem, parts = one.problem, self._adjustable
        notes = (*one.doubts, *(note for part in parts for note in part.remarks(one.adjusted, found.point)))
        loss = found.loss
        with torch.no_grad():
            batch = problem.batch_at(found.point)
        if isinstance(self.likelihood, Adjustable):
            # Losses at different scales say nothing of each other: compare what the likelihood is with its scale at best.
            terms = replace(self.terms, replay=problem.terms.at(found.point).replay)
            loss = float(terms.loss(problem.seen, batch).detach())
        secrets = [part.uncovered(problem.seen, found.point) for part in parts if isinstance(part, Uncovering)]
        uncovered = {name: value for secret in secrets for name, value in secret.items()}
        return _Candidate(found, batch if self.copies is None else self.copies.folded(batch), loss, notes, problem, uncovered)
