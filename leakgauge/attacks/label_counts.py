"""Labels only: what a rule of label restoration finds, scored by itself."""

from __future__ import annotations

from typing import final

import torch

from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.labels.over_rounds import infer
from leakgauge.attacks.settling import settle
from leakgauge.core.abilities import ROUNDS, used_by
from leakgauge.core.algorithm import algorithm
from leakgauge.core.protocols import Labels
from leakgauge.core.types import Batch, Capability, Observation, Reconstruction, Rng, Tick


@final
@algorithm
class LabelCounts:
    """Restores the labels by `labels` and guesses a gray image for each: an audit then scores label_accuracy at no cost."""

    labels: Labels = Counts()

    @property
    def needs(self) -> frozenset[Capability]:
        """What the label rule needs; a count that is withheld is estimated."""
        return self.labels.needs

    @property
    def uses(self) -> frozenset[str]:
        """What the label rule uses, and all rounds."""
        return used_by(self.labels) | {ROUNDS}

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return gray images with the labels found. Raises OutOfScope where the rule does not apply."""
        seen, notes = settle(seen)
        inputs = seen.model.inputs
        labels, doubts = infer(self.labels, seen, seen.count, rng=rng)
        like = next(iter(seen.update.delta.values()))
        gray = like.new_full((len(labels), *inputs.shape), (inputs.low + inputs.high) / 2, dtype=torch.float32)
        tick(1.0)
        return Reconstruction(Batch(gray, labels), losses=torch.full((1,), torch.nan), notes=(*notes, *doubts))
