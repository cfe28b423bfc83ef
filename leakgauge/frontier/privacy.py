"""What DP-SGD guarantees after a training: the privacy loss of the client whose examples are used most."""

from __future__ import annotations

from collections.abc import Sequence

from leakgauge.core.abilities import Accountable, LocalTraining
from leakgauge.core.accounting import PrivacyLoss, privacy_loss
from leakgauge.frontier.document import Option

DELTA = 1e-5


def guaranteed(option: Option, sizes: Sequence[int]) -> PrivacyLoss | None:
    """Return the loss for clients of these sizes, of which each takes part in every round; None without a rule that has one.

    Mini-batches are taken for Poisson samples (see `privacy_loss`). Raises MissingExtra without Opacus.
    """
    parts = option.federation.parts
    rules = [defense for defense in parts.defenses if isinstance(defense, Accountable)]
    if not rules:
        return None
    least = min(sizes)
    drawn = min(parts.examples or least, least)
    batches = parts.client.sizes(drawn) if isinstance(parts.client, LocalTraining) else [drawn]
    return privacy_loss(rules[-1].noise_multiplier, max(batches) / least, option.federation.rounds * len(batches), DELTA)
