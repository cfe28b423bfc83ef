"""Captures at the server: whatever strategy or workflow runs, this is what it sees on the wire."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from leakgauge.capture.files import write
from leakgauge.capture.manifest import Kind
from leakgauge.core.errors import UsageError
from leakgauge.flower.arrays import tensors
from leakgauge.flower.exchange import aggregate, exchanges, is_masked, is_training, round_of

log = logging.getLogger(__name__)


@final
class CapturingGrid(Grid):
    """A grid that writes a capture of every reply to a training message below `folder`, and else is the grid that it wraps.

    A capture holds the arrays that went to the client and those that came back, with all metrics and settings that were sent in
    clear. `kind` is what clients of this app send: new weights, as Flower's strategies expect, a delta, or a gradient. Round,
    examples, learning rate and local steps are taken from where Flower's apps put them (`server-round`, `num-examples`, `lr` or
    `learning-rate`, `local-steps`). A capture that cannot be written is told in the log, and the training goes on.

    Of a secure aggregation (SecAgg, SecAgg+), whose masked replies say nothing by themselves, a capture holds the weights that went
    to its clients and the next ones that the server sends out, taken for the clients' mean; that of the last round is never sent,
    unless evaluations follow. What its replies said in clear is there by client.
    """

    def __init__(self, grid: Grid, folder: str | Path, *, kind: Kind = "weights") -> None:
        self.grid, self.folder, self.kind = grid, Path(folder), kind
        self.sent: dict[int, Message] = {}  # the last training message to each node
        self.masked: _Masked | None = None

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
        for message in found:
            self._guarded(self._capture_aggregate, message)
        self.sent |= {one.metadata.dst_node_id: one for one in found if is_training(one)}
        return found

    def _in(self, replies: Iterable[Message]) -> list[Message]:
        found = list(replies)  # may be a generator, which can be read once
        for reply in found:
            if reply.has_content() and is_training(reply):
                self._guarded(self._capture, reply)
        return found

    def _guarded(self, capture: Callable[[Message], None], message: Message) -> None:
        try:
            capture(message)
        except UsageError as error:
            log.warning("not captured: %s", error)

    def _capture(self, reply: Message) -> None:
        asked = self.sent.get(reply.metadata.src_node_id)
        if asked is not None and is_masked(reply):
            number = round_of(asked.content, reply)
            if self.masked is None or self.masked.round != number:  # one whose result was never sent is given up
                self.masked = _Masked(number, asked.content, {})
            self.masked.replies[str(reply.metadata.src_node_id)] = reply
            return
        for one in exchanges(None if asked is None else asked.content, reply, self.kind):
            write(self.folder, one.manifest, one.sent, one.before)

    def _capture_aggregate(self, message: Message) -> None:
        """Write what a secure aggregation made, once the server sends weights that are others than those before it."""
        if self.masked is None or not message.has_content():
            return
        for old in self.masked.asked.array_records.values():
            for new in message.content.array_records.values():
                before, after = tensors(old), tensors(new)
                if before.keys() == after.keys() and any(not torch.equal(after[name], value) for name, value in before.items()):
                    manifest = aggregate(self.masked.asked, self.masked.replies)
                    self.masked = None
                    write(self.folder, manifest, after, before)
                    return


@final
class _Masked(NamedTuple):
    """A secure aggregation whose result has not been sent out yet."""

    round: int | None
    asked: RecordDict
    replies: dict[str, Message]
