"""Captures at the server: whatever strategy or workflow runs, this is what it sees on the wire."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, final

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from leakgauge.capture.files import write
from leakgauge.capture.manifest import made, plain
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Params
from leakgauge.flower.arrays import tensors

log = logging.getLogger(__name__)

_RATES = ("lr", "learning-rate", "learning_rate")
_STEPS = ("local-steps", "local_steps")
_ROUNDS = ("server-round", "server_round", "round")
_EXAMPLES = ("num-examples", "num_examples")


@final
class CapturingGrid(Grid):
    """A grid that writes a capture of every reply to a training message below `folder`, and else is the grid that it wraps.

    A capture holds the arrays that went to the client and those that came back, with all metrics and settings that were sent in
    clear. `kind` is what clients of this app send: new weights, as Flower's strategies expect, a delta, or a gradient. Round,
    examples, learning rate and local steps are taken from where Flower's apps put them (`server-round`, `num-examples`, `lr` or
    `learning-rate`, `local-steps`). A capture that cannot be written is told in the log, and the training goes on.
    """

    def __init__(self, grid: Grid, folder: str | Path, *, kind: Literal["weights", "delta", "gradient"] = "weights") -> None:
        self.grid, self.folder, self.kind = grid, Path(folder), kind
        self.sent: dict[int, Message] = {}  # the last training message to each node

    def set_run(self, *given: Any, **named: Any) -> None:
        """Pass it on."""
        self.grid.set_run(*given, **named)

    @property
    def run(self) -> Any:
        """The run of the grid."""
        return self.grid.run

    def create_message(self, *given: Any, **named: Any) -> Message:
        """Pass it on."""
        return self.grid.create_message(*given, **named)

    def get_node_ids(self) -> Iterable[int]:
        """Pass it on."""
        return self.grid.get_node_ids()

    def get_nodes(self) -> Iterable[Any]:
        """Pass it on."""
        return self.grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Remember what goes out, and push it."""
        return self.grid.push_messages(self._out(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull replies, and capture them."""
        return self._in(self.grid.pull_messages(message_ids))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send, and capture the replies."""
        return self._in(self.grid.send_and_receive(self._out(messages), timeout=timeout))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def _out(self, messages: Iterable[Message]) -> list[Message]:
        found = list(messages)
        self.sent |= {one.metadata.dst_node_id: one for one in found if _is_training(one)}
        return found

    def _in(self, replies: Iterable[Message]) -> list[Message]:
        found = list(replies)  # may be a generator, which can be read once
        for reply in found:
            if reply.has_content() and _is_training(reply):
                try:
                    self._capture(reply)
                except UsageError as error:
                    log.warning("not captured: %s", error)
        return found

    def _capture(self, reply: Message) -> None:
        asked = self.sent.get(reply.metadata.src_node_id)
        config = {} if asked is None else _values(asked.content.config_records)
        metrics = _values(reply.content.metric_records) | _values(reply.content.config_records)
        number = _first(config, _ROUNDS, int)
        for key, arrays in reply.content.array_records.items():
            manifest = made(
                kind=self.kind,
                framework=f"flwr {version('flwr')}",
                run=str(reply.metadata.run_id),
                round=number if number is not None else _number(reply.metadata.group_id),
                client=str(reply.metadata.src_node_id),
                examples=_first(metrics, _EXAMPLES, int) or None,
                learning_rate=_first(config, _RATES, float) or None,
                local_steps=_first(config, _STEPS, int) or None,
                metrics=plain(metrics),
                config=plain(config),
            )
            write(self.folder, manifest, tensors(arrays), None if asked is None else _before(asked.content, key))


def _before(content: RecordDict, key: str) -> Params | None:
    """What had been sent to the client under the same key, or under the only one."""
    records = content.array_records
    if key in records:
        return tensors(records[key])
    return tensors(next(iter(records.values()))) if len(records) == 1 else None


def _is_training(message: Message) -> bool:
    return str(message.metadata.message_type).startswith("train")


def _values(records: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(name): dict(record) for name, record in records.items()}


def _first(records: Mapping[str, Mapping[str, Any]], names: Iterable[str], kind: type) -> Any:
    """The first number under one of the names, in any record."""
    return next(_found(records, names, kind), None)


def _found(records: Mapping[str, Mapping[str, Any]], names: Iterable[str], kind: type) -> Iterator[Any]:
    for record in records.values():
        for name in names:
            value = record.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                yield kind(value)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < _DIGITS else None


_DIGITS = 10
