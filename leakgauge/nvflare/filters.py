"""Filters of NVFlare: what the server sends is remembered, what it receives is captured, what a client sends is defended.

Jobs carry filters as the names of their classes and the arguments of their constructors, which therefore are plain values.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, final

import numpy as np
import torch
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from torch import Tensor

from leakgauge.capture.files import write
from leakgauge.capture.manifest import Kind, made, plain
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Params
from leakgauge.outgoing import built, is_parameter, transformed

log = logging.getLogger(__name__)

_KINDS: dict[str, Kind] = {DataKind.WEIGHTS: "weights", DataKind.WEIGHT_DIFF: "delta"}
_SENT = "leakgauge.sent."
_ROUND = "current_round"


@final
class Remembered(DXOFilter):
    """At the server, on what it sends: keeps the weights that a client starts from, for `Captured`."""

    def __init__(self) -> None:
        super().__init__([DataKind.WEIGHTS], [DataKind.WEIGHTS])

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> None:
        """Keep them in the server's context; nothing is changed."""
        fl_ctx.set_prop(_SENT + _peer(fl_ctx), dict(dxo.data), private=True, sticky=True)


@final
class Captured(DXOFilter):
    """At the server, on what it receives: writes a capture below `folder`. One that cannot be written is told in the log."""

    def __init__(self, folder: str, learning_rate: float | None = None) -> None:
        super().__init__([*_KINDS], [*_KINDS])
        self.folder, self.learning_rate = folder, learning_rate

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> None:
        """Capture; nothing is changed."""
        client = _peer(fl_ctx)
        before = fl_ctx.get_prop(_SENT + client)
        number, steps = shareable.get_header(_ROUND), dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND)
        try:
            manifest = made(
                kind=_KINDS[dxo.data_kind],
                framework=f"nvflare {version('nvflare')}",
                run=str(fl_ctx.get_job_id("")),
                round=int(number) + 1 if isinstance(number, int) else None,  # NVFlare counts from 0
                client=client,
                learning_rate=self.learning_rate,
                local_steps=int(steps) if isinstance(steps, int) and steps > 0 else None,
                metrics=plain(dxo.get_meta_prop(MetaKey.INITIAL_METRICS) or {}),
            )
            write(self.folder, manifest, _tensors(dxo.data), None if before is None else _tensors(before))
        except UsageError as error:
            log.warning("not captured: %s", error)


@final
class Defended(DXOFilter):
    """At a client, on what it sends: puts defenses on a difference of weights, as in an audit file's `defenses`.

    Running statistics and counters are sent as they are. New weights, of which no difference can be taken here, are an error.
    """

    def __init__(self, defenses: list[Any]) -> None:
        super().__init__([*_KINDS], [*_KINDS])
        self.defenses = defenses

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        """Return the result with its difference defended. Raises UsageError where it is none."""
        if dxo.data_kind != DataKind.WEIGHT_DIFF:
            raise UsageError("defenses: got new weights, expected their difference; set params_transfer_type=TransferType.DIFF")
        values = _tensors(dxo.data)
        delta = {name: -value for name, value in values.items() if is_parameter(name, value)}
        sent = {name: -value for name, value in transformed(delta, built(self.defenses)).items()}
        kept = {name: torch.zeros_like(value) for name, value in delta.items() if name not in sent}
        dxo.data = {name: _like(dxo.data[name], value) for name, value in {**values, **kept, **sent}.items()}
        return dxo


def _peer(fl_ctx: FLContext) -> str:
    peer = fl_ctx.get_peer_context()
    return str(peer.get_identity_name()) if peer is not None else ""


def _tensors(values: Mapping[str, Any]) -> Params:
    return {name: value if isinstance(value, Tensor) else torch.from_numpy(np.array(value)) for name, value in values.items()}


def _like(given: Any, value: Tensor) -> Any:
    """A tensor in the library and the precision that its client had used."""
    if isinstance(given, Tensor):
        return value.to(given.dtype)
    return value.numpy().astype(np.asarray(given).dtype)
