"""Rehearsals: audits of the same setting on examples that the adversary holds."""

from __future__ import annotations

from typing import Any, final

import torch

from leakgauge.auditing.lineup import split
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Data, Pool
from leakgauge.core.rng import stream
from leakgauge.core.types import Capability
from leakgauge.spec import AuditSpec, Draw, canonical, divide, parse


@final
@algorithm
class Held:
    """What the adversary of an audit holds of its data: no secret, no copy of one, nothing that the victim learned from.

    The audit's decoy batch and its line-up of `candidates` images are left out as well, unless less than twice a batch would be
    left. Normalization and classes are those of all data, as the audited model has them.
    """

    data: Data
    batch: Draw
    seed: int = 0
    candidates: Count = 1000
    is_trained: bool = False
    is_labeled: bool = False  # whether the threat model grants labels, which decoy and line-up then share

    def load(self) -> Pool:
        """Return the examples. Raises UsageError if they are fewer than twice a batch."""
        pool = self.data.load()
        secret, _, public = divide(pool, self.batch, self.seed, is_trained=self.is_trained)
        size = len(secret)
        rng = stream(self.seed, "public")
        rest = split(public, secret, self.candidates, is_labeled=self.is_labeled, rng=rng).held
        held = rest if rest is not None and len(rest) >= 2 * size else public
        if len(held) < 2 * size:
            raise UsageError(
                f"data: leaves {len(held)} public examples beside the secret, expected at least {2 * size} to rehearse on; "
                "take more data or a smaller batch"
            )
        return Pool(held.x, held.y, pool.inputs, pool.class_names)


def rehearsals(spec: AuditSpec, batches: int, metrics: frozenset[str] = frozenset()) -> tuple[AuditSpec, ...]:
    """Return rehearsals of an audit: the same setting and attack, with examples, fresh weights and chance of their own.

    They depend on the attack in nothing else, so that every attack is tuned on the same batches. Controls are not run; of the
    metrics, psnr and those named are computed.
    """
    parts = spec.parts
    size = len(parts.batch.indices) if parts.batch.indices is not None else parts.batch.size
    held = Held(
        data=parts.data,
        batch=parts.batch,
        seed=parts.seed,
        candidates=parts.criteria.candidates,
        is_trained=parts.training.steps > 0,
        is_labeled=Capability.LABELS in parts.threat,
    )
    document: dict[str, Any] = {
        **canonical(spec),
        "data": held,
        "batch": Draw(size=size, labels=parts.batch.labels),
        "control": None,
        "controls": [],
        "metrics": {name: one for name, one in spec.config["metrics"].items() if name in metrics | {"psnr"}},
    }
    seeds = (int(torch.randint(0, 2**31, (), generator=stream(parts.seed, "tune", number))) for number in range(batches))
    return tuple(
        parse({**document, "name": f"{spec.name}, rehearsal {number + 1}", "seed": seed}) for number, seed in enumerate(seeds)
    )
