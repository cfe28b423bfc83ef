"""`judge`: the only function that ever holds both a secret and a guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from leakgauge.auditing.likeness import distances, nearness, structure
from leakgauge.auditing.record import TRAINED
from leakgauge.core.errors import LeakgaugeError, UsageError
from leakgauge.core.protocols import Metric
from leakgauge.core.types import Batch


@final
@dataclass(frozen=True)
class Judgement:
    """What a guess is worth, truth by truth; all on the CPU. n is the number of truths.

    A truth to which no guess was matched (there were fewer, or the others were not finite) has assignment -1, pixels and scores
    nan, and the last rank. So are the scores of a metric that cannot be computed here, with its reason in `unscored`.
    """

    assignment: Tensor  # [n], the row of the guess that belongs to each truth
    matched: Tensor  # [n, *shape], the guesses in the order of the truths, clamped to [0, 1]
    scores: Mapping[str, Tensor]  # metric -> [n]; with "_trained" behind its name, against what the client trained on
    ranks: Tensor | None  # [n], 1 is best; None without candidates
    candidates_count: int | None  # images among which a rank is one, the truth included
    label_accuracy: float  # share of the true labels, as a multiset, that the guess holds
    unscored: Mapping[str, str] = field(default_factory=dict)  # metric -> why it has no scores


def judge(
    secret: Batch, guess: Batch, *, candidates: Tensor | None, metrics: Mapping[str, Metric], trained: Batch | None = None
) -> Judgement:
    """Match guesses to truths, score each pair, and rank each truth among `candidates` [m, *shape], images of the same kind.

    Guesses come in no order, so they are matched one to one by least total squared error of pixels clamped to [0, 1]. A guess
    with a number that is not finite is never matched. Raises UsageError if the shapes of the examples differ.

    A rank is 1 + the candidates nearer to the guess than the truth is + half of those equally near, rounded up. Near is what
    `likeness` makes of it, on the scale where a picture stands out most: no gain and no offset hides it. For several guesses "near"
    means near to the nearest of them, not to the matched one: the match is made with the truths in hand and would favor them,
    whereas this treats truths and candidates alike, so that a guess that knows nothing gets uniform ranks.

    `trained` is what the client made of each secret before it trained, if it did: guesses are matched to that as well, by itself,
    and these scores are named psnr_trained and so on. It has no rank: a transformed image is told from candidates by its looks.
    """
    _check_shapes(secret.x, guess.x, candidates)
    truth, pixels = _pixels(secret.x), _pixels(guess.x)
    usable = pixels.flatten(1).isfinite().all(1).nonzero().squeeze(1)
    assignment, matched = _matched(truth, pixels, usable)
    found = assignment >= 0
    scores, unscored = _scores(metrics, matched, truth, found)
    if trained is not None:
        changed = _pixels(trained.x)
        rows, nearest = _matched(changed, pixels, usable)
        more, reasons = _scores(metrics, nearest, changed, rows >= 0)
        scores |= {name + TRAINED: values for name, values in more.items()}
        unscored |= {name + TRAINED: reason for name, reason in reasons.items()}
    ranks = count = None
    if candidates is not None:
        count = len(candidates) + 1
        ranks = torch.full((len(truth),), count)
        if found.any():
            ranks[found] = _ranks(truth, _pixels(candidates), pixels[usable])[found]
    return Judgement(assignment, matched, scores, ranks, count, label_accuracy(secret.y, guess.y), unscored)


def explain(unscored: Mapping[str, str]) -> Iterator[str]:
    """Say, in a sentence for each reason, which metrics have no scores."""
    for reason in dict.fromkeys(unscored.values()):
        yield f"Not scored: {', '.join(name for name, other in unscored.items() if other == reason)} ({reason})."


def _check_shapes(secret: Tensor, guess: Tensor, candidates: Tensor | None) -> None:
    for name, images in (("guess", guess), ("candidates", candidates)):
        if images is not None and images.shape[1:] != secret.shape[1:]:
            raise UsageError(
                f"{name}: got examples of shape {tuple(images.shape[1:])}, expected {tuple(secret.shape[1:])} as the secret has; "
                "take both from the same data and attack"
            )


def _pixels(x: Tensor) -> Tensor:
    x = x.detach().cpu().to(torch.float32)
    return torch.where(x.isfinite(), x.clamp(0, 1), torch.nan)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances [len(a), len(b)]; without the matrix product, whose rounding would blur perfect copies."""
    return torch.cdist(a.flatten(1).double(), b.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist")


def _matched(truth: Tensor, guess: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
    """The row of the guess that belongs to each truth, -1 for none, and its pixels; of the guesses, only `usable` rows count."""
    assignment = torch.full((len(truth),), -1)
    rows, to = linear_sum_assignment(_distances(truth, guess[usable]).square().numpy())
    assignment[rows] = usable[to]
    matched = torch.full_like(truth, torch.nan)
    matched[rows] = guess[assignment[rows]]
    return assignment, matched


def _scores(
    metrics: Mapping[str, Metric], matched: Tensor, truth: Tensor, found: Tensor
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The scores of each metric, and the reason where it has none: one that cannot be computed takes no other with it."""
    scores = {name: truth.new_full((len(truth),), torch.nan) for name in metrics}
    unscored = {}
    for name, metric in metrics.items() if found.any() else ():
        try:
            scores[name][found] = metric(matched[found], truth[found]).to(truth)
        except LeakgaugeError as reason:
            unscored[name] = str(reason)
    return scores, unscored


def _ranks(truth: Tensor, candidates: Tensor, guess: Tensor) -> Tensor:
    pool = torch.cat([truth, candidates])
    near = nearness({name: value.amin(1) for name, value in distances(pool, guess).items()}, structure(pool))
    own, others = near[: len(truth), None], near[None, len(truth) :]
    nearer, ties = (others > own).sum(1), (others == own).sum(1)
    return 1 + nearer + (ties + 1) // 2


def label_accuracy(secret: Tensor, guess: Tensor) -> float:
    """The share of the true labels that a guess holds, both taken as multisets."""
    true, guessed = Counter(_classes(secret)), Counter(_classes(guess))
    return (true & guessed).total() / len(secret)


def _classes(y: Tensor) -> list[int]:
    if y.is_floating_point():
        y = y[y.isfinite().all(1)].argmax(1)
    return y.tolist()
