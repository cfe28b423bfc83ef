"""The search for ATS's policies: two scores that need no training (Gao et al., CVPR 2021, arXiv 2011.12505, section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.differentiation import slopes
from leakgauge.core.rng import uniform
from leakgauge.core.types import Batch, Model, Params, Rng
from leakgauge.defenses import policies

_EPSILON = 1e-5


@final
@dataclass(frozen=True)
class Scored:
    """A policy with its scores: the lower `privacy`, the less a search finds; the higher `accuracy`, the better a model learns."""

    policy: str
    privacy: float
    accuracy: float


def search_policies(
    fresh: Model,
    trained: Model,
    batch: Batch,
    *,
    candidates: int = 1500,
    length: int = 3,
    keep: int = 10,
    floor: float = -85.0,
    points: int = 20,
    rng: Rng,
) -> tuple[Scored, ...]:
    """Draw policies of `length` transforms, and return the `keep` of lowest privacy score among those with accuracy >= `floor`.

    The accuracy score is taken with a `fresh` model, the privacy score with one that was `trained` on a tenth of the data, as the
    authors do. `floor` is that of their released code, for batches of 100; the score grows more negative with the batch.
    """
    found: list[Scored] = []
    for _ in range(candidates):
        places = torch.randint(len(policies.LIBRARY), (length,), generator=rng).tolist()
        policy = "-".join(str(place) for place in places)
        transformed = Batch(policies.apply(policy, batch.x, rng=rng), batch.y)
        accuracy = accuracy_score(fresh, transformed.x)
        if accuracy >= floor:
            found.append(Scored(policy, privacy_score(trained, transformed, points=points, rng=rng), accuracy))
    return tuple(sorted(found, key=lambda one: one.privacy)[:keep])


def privacy_score(model: Model, transformed: Batch, *, points: int = 20, rng: Rng) -> float:
    """How early, on the way from noise to the transformed images, gradients point as theirs do: Eq. 6, averaged over the images.

    The area under the similarity of gradients along the straight way, by trapezoids over `points` parts; 1 if they agree all along.
    Similarity is the cosine of each tensor, averaged over tensors, as in the released code; the noise is uniform.
    """
    areas = [_area(model, transformed[row : row + 1], points, rng) for row in range(len(transformed))]
    return sum(areas) / len(areas)


def accuracy_score(model: Model, x: Tensor) -> float:
    """How well an untrained model tells images [n, c, h, w] apart (Mellor et al., 2020, arXiv 2006.04647, as in Eq. 8 and 9).

    For the eigenvalues v of the correlations between the images' slopes of the summed outputs: minus the sum of log(v + e) + 1 /
    (v + e), with e = 1e-5. It is -n where no two images are alike to the model, and falls without end as they become so.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (directions,) = slopes(model.logits(x).sum(), [x])
    values = torch.linalg.eigvalsh(torch.corrcoef(directions.flatten(1).double())).clamp_min(0) + _EPSILON
    return -float((values.log() + 1 / values).sum())


def _area(model: Model, image: Batch, points: int, rng: Rng) -> float:
    noise = uniform(image.x.shape, rng).to(image.x)
    aim = loss_gradient(model, image).params
    heights = []
    for step in range(points + 1):
        share = step / points
        slopes = loss_gradient(model, Batch(share * image.x + (1 - share) * noise, image.y)).params
        heights.append(float(torch.stack([*_cosines(slopes, aim)]).mean()))
    return (sum(heights) - (heights[0] + heights[-1]) / 2) / points


def _cosines(one: Params, other: Params) -> Iterator[Tensor]:
    for name, value in one.items():
        yield cosine_similarity(value.reshape(-1), other[name].reshape(-1), dim=0)
