"""The privacy loss of training with clipped, noisy gradients, by Opacus' accountant (Rényi DP: Mironov 2017, arXiv 1702.07476)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from leakgauge.core.errors import MissingExtra


@final
@dataclass(frozen=True)
class PrivacyLoss:
    """(epsilon, delta)-differential privacy of single examples."""

    epsilon: float
    delta: float


def privacy_loss(noise_multiplier: float, share: float, steps: int, delta: float) -> PrivacyLoss:
    """Return the loss of so many steps, each on examples that are drawn with probability `share`, one by one (Poisson sampling).

    An upper bound for what is drawn so; who shuffles, or draws a fixed number, has no such bound, and quotes this one all the same.
    Infinite without noise. Raises MissingExtra without Opacus.
    """
    return composed([(noise_multiplier, share, steps)], delta)


def composed(ledger: Sequence[tuple[float, float, int]], delta: float) -> PrivacyLoss:
    """Return the loss of trainings one after the other, each a noise multiplier, a share and a number of steps as above."""
    accountant = _accountant()
    if not all(noise_multiplier for noise_multiplier, _, _ in ledger):
        return PrivacyLoss(float("inf"), delta)
    accountant.history = list(ledger)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the best order at an end of its list: a larger epsilon, still a bound
        return PrivacyLoss(float(accountant.get_epsilon(delta)), delta)


def check_installed() -> None:
    """Raise MissingExtra without Opacus."""
    _accountant()


def _accountant() -> Any:
    try:
        from opacus.accountants import RDPAccountant
    except ImportError as error:
        raise MissingExtra("the privacy loss of dp_sgd", "accounting") from error
    return RDPAccountant()
