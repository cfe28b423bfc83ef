"""What an update says of the last layer, and what the model would have answered to the examples behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.attacks.dummies import Answers, Images, answers, draw
from leakgauge.core.anatomy import batch_norms, head, moved_tensor
from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Model, Observation, Rng


class LastLayer(NamedTuple):
    """The update of the last layer, up to one factor, and the model's answers to stand-ins for the examples."""

    rows: Tensor  # [classes, width], the weights' update
    sums: Tensor  # [classes], the bias's: the mean of p - y
    found: Answers
    x: Tensor  # the stand-ins, pixels
    statistics_of: int | None = None  # the size of batches whose own statistics BatchNorm took; None for running ones

    def answers(self, model: Model) -> Answers:
        """What another model answers to the stand-ins."""
        return answers(model, self.x, statistics_of=self.statistics_of)


def look(seen: Observation, samples: int, images: Images, *, rng: Rng) -> LastLayer:
    """Read the last layer, with public images as stand-ins where they are granted and dummies where not.

    Where no bias was sent, its update is the weights' along the mean embedding, which the stand-ins give. BatchNorm takes running
    statistics or those of each batch, whichever brings the stand-ins nearer to the mean embedding behind the update. Raises
    OutOfScope for a model without a linear head, and without a bias where the mean embedding is 0 (as with tanh).
    """
    weight, _ = head(seen.model)
    x = draw(seen.model.inputs, samples, images, rng=rng) if seen.public is None else seen.public.x[:samples]
    x = x.to(seen.model.params[weight])
    running = _read(seen, x, None)
    size = seen.update.examples or 1
    if not batch_norms(seen.model) or not 1 < size <= len(x):
        return running
    own = _read(seen, x[: len(x) // size * size], size)
    return min(running, own, key=_strangeness)


def _read(seen: Observation, x: Tensor, statistics_of: int | None) -> LastLayer:
    weight, bias = head(seen.model)
    found = answers(seen.model, x, statistics_of=statistics_of)
    rows = moved_tensor(seen, weight).to(found.embeddings)
    if bias is not None and bias in seen.update.delta:
        return LastLayer(rows, moved_tensor(seen, bias).to(rows), found, x, statistics_of)
    check_mean(found.embeddings)
    return LastLayer(rows, _along_mean(rows, found.embeddings), found, x, statistics_of)


def _strangeness(layer: LastLayer) -> float:
    """How far stand-ins are from the mean embedding behind the update, as a share of both lengths."""
    seen, own = _mean_embedding(layer), layer.found.embeddings.mean(dim=0)
    return float((seen - own).norm() / (seen.norm() + own.norm()))


def readings(layer: LastLayer) -> list[tuple[Tensor, float]]:
    """The bias's update [classes] as sent, and as the weights' tells it, each with the share by which examples count unevenly.

    Along the mean embedding of the stand-ins, an example counts by the length that its own embedding has there, so the weights'
    account is the less exact one of a single step. Of three it gets 0.01 to 0.02 more of the labels right (training images of
    CIFAR-10). Where it would be a division by nearly 0, or no bias was sent, there is one account only.
    """
    embeddings = layer.found.embeddings
    if not has_mean(embeddings):
        return [(layer.sums, 0.0)]
    lengths, along = embeddings @ embeddings.mean(dim=0), _along_mean(layer.rows, embeddings)
    sent = [] if torch.equal(along, layer.sums) else [(layer.sums, 0.0)]
    return [*sent, (along, float(lengths.std() / lengths.mean()))]


def _along_mean(rows: Tensor, embeddings: Tensor) -> Tensor:
    """What the weights' update [classes, width] says of the bias's [classes], if every embedding were the mean one."""
    middle = embeddings.mean(dim=0)
    sums: Tensor = rows @ middle / middle.square().sum()
    return sums


def has_mean(embeddings: Tensor) -> bool:
    """Whether the mean embedding is far enough from 0 to divide by it."""
    middle, mean_square = embeddings.mean(dim=0).square().sum(), embeddings.square().sum(dim=1).mean()
    return float(middle) > _LEAST_MEAN * float(mean_square)


def check_mean(embeddings: Tensor) -> None:
    """Raise OutOfScope where the mean embedding is too near to 0 to divide by it."""
    if not has_mean(embeddings):
        raise OutOfScope(
            "no bias of the last layer was sent, and the mean of what enters that layer is 0: counts cannot be read off"
        )


def moved_answers(layer: LastLayer, seen: Observation, *, ahead: float = 0.0) -> Tensor:
    """Probabilities [n, classes] for stand-ins that were moved, in the last layer, to the mean embedding behind the update.

    Row n of the weights' update is the bias's times a mean embedding (Geiping et al., NeurIPS 2020, Prop. 3.1, for the last
    layer); the factor of the update cancels. All rows together give it by least squares. `ahead` is how much of the way from the
    weights before to those after the model has gone; the stand-ins move as far as they do before.
    """
    model = on_the_way(seen, ahead)
    found = layer.answers(model) if ahead else layer.found
    moved = _mean_embedding(layer) - layer.found.embeddings.mean(dim=0)
    return (found.logits + moved @ model.params[head(model).weight].T).softmax(dim=1)


def on_the_way(seen: Observation, share: float) -> Model:
    """The model after a share of the way, as the crow flies, from the weights before to those after."""
    delta = seen.update.delta
    params = {name: value - share * delta[name] if name in delta else value for name, value in seen.model.params.items()}
    return replace(seen.model, params=params)


def scatter(layer: LastLayer, count: int) -> float | None:
    """How large the factor of an update is by the scatter of embeddings, for labels of variance 1; None for one example.

    The weights' update is the mean of (p - y) o^T over examples with embeddings o. What is left of it without the bias's update
    times the mean embedding is a sum of `count` terms that do not line up, so its size is sqrt(tr Cov(o) Var(y) / count), and the
    stand-ins have that covariance. The update's own size, divided by it, is its scale, whatever the learning rate.
    """
    left = float((layer.rows - torch.outer(layer.sums, _mean_embedding(layer))).norm())
    spread = float(layer.found.embeddings.var(dim=0).sum()) ** 0.5
    return None if count < 2 or left <= _LEAST_SCATTER * float(layer.rows.norm()) else spread / (count**0.5 * left)


def _mean_embedding(layer: LastLayer) -> Tensor:
    """The embedding [width] that all rows of the weights' update agree on best, whatever its scale."""
    middle: Tensor = layer.sums @ layer.rows / layer.sums.square().sum().clamp_min(torch.finfo(layer.sums.dtype).tiny)
    return middle


def known_factor(seen: Observation) -> float | None:
    """What the update is to be multiplied by to be a mean gradient; None where that is not granted."""
    return None if not seen.update.scale else 1 / seen.update.scale


_LEAST_SCATTER = 1e-5
"""Of the weights' update: below, what is left is rounding."""
_LEAST_MEAN = 1e-3
"""Of the mean square of embeddings; chance alone leaves one part in the number of samples."""
