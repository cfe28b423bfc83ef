"""The engine: argmax over x of log p(update | x) + log p(x), composed of replaceable parts.

Every optimization attack is this search with its own likelihood, priors, space, replay, labels and search (Balunovic et al.,
ICLR 2022, arXiv 2111.04706, Sec. 4).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from leakgauge import tree
from leakgauge.algorithm import Count, NonNegative, algorithm
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.replays.granted import Granted
from leakgauge.protocols import Attack, Found, Labels, Likelihood, Point, Prior, Replay, Search, Space
from leakgauge.rng import fork
from leakgauge.types import Batch, Capability, Observation, Reconstruction, Rng, Tick, part_of


class _Candidate(NamedTuple):
    found: Found
    batch: Batch


@final
@algorithm
class Matching:
    """Searches the batch whose replayed update is likeliest, from `restarts` random starts; the lowest loss wins.

    A search, and the restarting, ends early at a loss of `enough` times that of a vanishing update. With `group`, each restart
    is a group of members that are searched together. Labels that a rule leaves open (floating logits) join the unknowns.
    """

    likelihood: Likelihood
    priors: tuple[Prior, ...] = ()
    space: Space
    replay: Replay
    labels: Labels
    search: Search
    group: GroupConsistency | None = None
    restarts: Count = 1
    enough: NonNegative = 0.0

    @property
    def needs(self) -> frozenset[Capability]:
        """COUNT, and what the parts need."""
        return frozenset({Capability.COUNT}) | self.replay.needs | self.labels.needs

    def informed(self) -> Attack:
        """The same attack with known labels and the granted procedure."""
        return replace(self, labels=Known(), replay=Granted())

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return the guess with the lowest loss. Raises OutOfScope where a part does not apply."""
        count = seen.count
        goal = self.enough * float(self.likelihood(tree.apply(torch.zeros_like, seen.update.delta), seen.update.delta))
        candidates: list[_Candidate] = []
        for restart in range(self.restarts):
            candidates.append(self._search(seen, count, goal, fork(rng), part_of(tick, restart, self.restarts)))
            if candidates[-1].found.loss <= goal:
                break
        tick(1.0)
        best = min(candidates, key=lambda one: math.inf if math.isnan(one.found.loss) else one.found.loss)
        losses = torch.tensor([one.found.loss for one in candidates])
        return Reconstruction(best.batch, losses, best.found.trace, best.found.status)

    def loss_at(self, seen: Observation, batch: Batch, /) -> Tensor:
        """The objective at a batch: 0 at the truth, up to the priors, for a replay that repeats the client."""
        with sdpa_kernel(SDPBackend.MATH):  # the only attention kernel that can be differentiated twice on every device
            loss = self.likelihood(self.replay(seen, batch), seen.update.delta)
            for prior in self.priors:
                loss = loss + prior(batch.x, seen)
            return loss

    def _search(self, seen: Observation, count: int, goal: float, rng: Rng, tick: Tick) -> _Candidate:
        labels = self.labels.infer(seen, count, rng=fork(rng))
        is_joint = labels.is_floating_point()

        def batch_at(point: Point) -> Batch:
            return Batch(self.space.decode(point["x"], seen), point["y"].softmax(dim=-1) if is_joint else labels)

        def objective(point: Point) -> Tensor:
            return self.loss_at(seen, batch_at(point))

        def project(point: Point) -> Point:
            return {**point, "x": self.space.project(point["x"], seen)}

        def start() -> Point:
            x = self.space.start(seen, count, rng=fork(rng))
            return {"x": x, "y": labels} if is_joint else {"x": x}

        if self.group is None:
            found = self.search.minimize(objective, start(), project=project, goal=goal, rng=fork(rng), tick=tick)
        else:
            starts = [start() for _ in range(self.group.members)]
            found = self.group.minimize(self.search, objective, starts, project=project, goal=goal, rng=fork(rng), tick=tick)
        with torch.no_grad():
            return _Candidate(found, batch_at(found.point))
