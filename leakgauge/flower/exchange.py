"""What one exchange of a federation says: the arrays of a reply to a training message, and all that went along in clear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple, final

from flwr.app import Message, RecordDict

from leakgauge.capture.manifest import Kind, Manifest, made, plain
from leakgauge.core.types import Params
from leakgauge.flower.arrays import tensors

_RATES = ("lr", "learning-rate", "learning_rate")
_STEPS = ("local-steps", "local_steps")
_ROUNDS = ("server-round", "server_round", "round")
_EXAMPLES = ("num-examples", "num_examples")
_MASKED = ("masked_params", "masked_parameters")
_DIGITS = 10


@final
class Exchange(NamedTuple):
    """Arrays that came back under one key, and those that the client had been sent."""

    key: str
    manifest: Manifest
    sent: Params
    before: Params | None


def exchanges(asked: RecordDict | None, reply: Message, kind: Kind) -> Iterator[Exchange]:
    """Read an exchange, an item for each array record of the reply; `asked` is what the client had been sent, where that is known.

    Raises UsageError for what a manifest cannot hold.
    """
    config = {} if asked is None else _values(asked.config_records)
    metrics = in_clear(reply)
    for key, arrays in reply.content.array_records.items():
        if not arrays:
            continue
        manifest = made(
            kind=kind,
            framework=f"flwr {version('flwr')}",
            run=str(reply.metadata.run_id),
            round=round_of(asked, reply),
            client=str(reply.metadata.src_node_id),
            examples=_first(metrics, _EXAMPLES, int) or None,
            learning_rate=_first(config, _RATES, float) or None,
            local_steps=_first(config, _STEPS, int) or None,
            metrics=plain(metrics),
            config=plain(config),
        )
        yield Exchange(key, manifest, tensors(arrays), None if asked is None else before(asked, key))


def aggregate(asked: RecordDict, replies: Mapping[str, Message]) -> Manifest:
    """Return what is known of a secure aggregation: of the replies, by client, nothing but what went along in clear.

    Raises UsageError for what a manifest cannot hold.
    """
    config = _values(asked.config_records)
    clear = {client: in_clear(reply) for client, reply in replies.items()}
    counts = [_first(one, _EXAMPLES, int) for one in clear.values()]
    are_equal = None not in counts and len(set(counts)) == 1
    first = next(iter(replies.values()))
    return made(
        kind="weights",
        framework=f"flwr {version('flwr')}",
        run=str(first.metadata.run_id),
        round=round_of(asked, first),
        client=f"aggregate of {len(replies)}",
        direction="server_to_client",
        examples=None if None in counts else sum(counts) or None,
        learning_rate=_first(config, _RATES, float) or None,
        local_steps=_first(config, _STEPS, int) or None,
        defenses=({"name": "secure_aggregation", "clients": len(replies)},) if are_equal else None,
        metrics=plain(clear),
        config=plain(config),
    )


def is_masked(reply: Message) -> bool:
    """Return whether a reply holds the masked update of a secure aggregation (SecAgg, SecAgg+), and not the update itself."""
    return any(name in record for record in reply.content.config_records.values() for name in _MASKED)


def round_of(asked: RecordDict | None, message: Message) -> int | None:
    """Return the number of the round, where the app's settings or the message's group say it."""
    number = _first({} if asked is None else _values(asked.config_records), _ROUNDS, int)
    text = message.metadata.group_id
    return number if number is not None else int(text) if text.isdecimal() and len(text) < _DIGITS else None


def is_training(message: Message) -> bool:
    """Return whether a message asks a client to train, or answers that."""
    return str(message.metadata.message_type).startswith("train")


def before(content: RecordDict, key: str) -> Params | None:
    """Return what had been sent to the client under the same key, or under the only one."""
    records = content.array_records
    if key in records:
        return tensors(records[key])
    return tensors(next(iter(records.values()))) if len(records) == 1 else None


def in_clear(reply: Message) -> dict[str, dict[str, Any]]:
    """Return what a reply says besides arrays, masked ones left out."""
    found = _values(reply.content.metric_records) | _values(reply.content.config_records)
    return {key: {name: value for name, value in record.items() if name not in _MASKED} for key, record in found.items()}


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
