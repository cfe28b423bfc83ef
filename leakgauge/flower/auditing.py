"""An audit of what is about to leave the client, as a mod: it warns, holds an update back, or defends it until the audit passes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, final

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from leakgauge.api import Config
from leakgauge.capture.files import Capture, named, private
from leakgauge.captured import Given, attack
from leakgauge.core.capabilities import threat_named
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.reading import read_yaml
from leakgauge.core.types import Batch, Params
from leakgauge.flower.arrays import record_of
from leakgauge.flower.defending import Mod, configured, defended
from leakgauge.flower.exchange import Exchange, exchanges, is_training, round_of
from leakgauge.outgoing import built
from leakgauge.results.gate import Policy, Ruling, gate
from leakgauge.spec import build

log = logging.getLogger(__name__)

Examples = Callable[[Message, Context], tuple[Tensor, Tensor]]
"""Pixels in [0, 1], as they are before normalization, and classes: what the client trains on when it gets this message."""
_STATE = "leakgauge"
_HELD_BACK = 6
"""Flower's code for a mod whose condition is not met."""


@final
class Watch(BaseModel):
    """What `run_config["audit"]` says, the keys of an audit file among it.

    `every` is in rounds, 0 for none. `results` is a folder at the client, for reports, which show its data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    then: Literal["warn", "block", "strengthen"] = "warn"
    every: Annotated[int, Field(ge=0)] = 1
    stronger: tuple[tuple[Any, ...], ...] = ()
    policy: Policy = Policy.model_validate({})
    attack: Any = None
    client: Any = None
    threat: str | None = None
    data: Any = None
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    rehearsals: Annotated[int, Field(ge=1)] = 3
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    results: str | None = None


@final
class Decision(NamedTuple):
    """Which stack of `stronger` a client has come to (0: none), and whether its last audit held the update back."""

    strength: int = 0
    is_held: bool = False


def auditing(network: Callable[[], nn.Module], examples: Examples, key: str = "audit") -> Mod:
    """Return a client mod that audits updates as `run_config[key]` says, in YAML, before they leave.

    Put in front of `defending()`, it sees what that sends, and takes `run_config["defenses"]` for known. Where the policy does not
    pass an update, `then` decides: `warn` logs it; `block` answers with an error in place of the update; `strengthen` puts the
    stacks of defenses in `stronger` on top, one after the other, sends what passes first, keeps to that stack from then on, and
    blocks where none passes. Rounds between two audits get what the last one decided; after one that blocked, every round is
    audited. An audit that cannot tell does not pass, unless the policy allows it; an update that cannot be audited never does.
    Raises UsageError, which Flower makes an error reply of, for settings that do not fit, before anything is trained.
    """
    return _Auditor(network, examples, key)


@final
@dataclass(frozen=True)
class _Auditor:
    network: Callable[[], nn.Module]
    examples: Examples
    key: str

    def __call__(self, message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        if not is_training(message):
            return call_next(message, context)
        watch, base = _settings(context, self.key)
        stacks = ((), *watch.stronger)
        decision = _remembered(context, len(stacks))
        secret = private(*self.examples(message, context)) if _is_due(watch, message, decision) else None
        asked = RecordDict(dict(message.content))  # the app may change what it was given
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        exchange = _only(asked, reply)
        if secret is None:
            return _with(reply, exchange, _behind(exchange, stacks[decision.strength]))
        last = len(stacks) if watch.then == "strengthen" else decision.strength + 1
        for strength in range(decision.strength, last):
            sent = _behind(exchange, stacks[strength])
            ruling = self._ruled(exchange, sent, secret, watch, (*base, *stacks[strength]))
            log.log(logging.INFO if ruling.result == "pass" else logging.WARNING, "%s", _told(ruling, exchange, stacks[strength]))
            if ruling.result == "pass" or watch.then == "warn":
                _remember(context, Decision(strength))
                return _with(reply, exchange, sent)
        _remember(context, Decision(decision.strength, is_held=True))
        return Message(Error(_HELD_BACK, "leakgauge: the update was held back, its audit does not pass"), reply_to=message)

    def _ruled(self, exchange: Exchange, sent: Params, secret: Batch, watch: Watch, defenses: tuple[Config, ...]) -> Ruling:
        """Audit what would be sent, and hold the audit against the policy; what cannot be audited passes none."""
        manifest = exchange.manifest
        capture = Capture(Path(named(manifest)), manifest, sent, exchange.before, secret)
        given = Given(
            model=self.network(),
            mean=watch.mean,
            std=watch.std,
            data=watch.data,
            client=watch.client,
            defenses=defenses,
            threat=watch.threat,
            attack=watch.attack,
            rehearsals=watch.rehearsals,
            seed=watch.seed,
            device=watch.device,
        )
        try:
            result = attack(capture, given)
        except UsageError as error:  # what was settled before training fits, so it is this update that cannot be audited
            return Ruling("", capture.path.name, "inconclusive", (f"The update could not be audited: {error}.",))
        if watch.results is not None:
            result.save(watch.results)
        return gate([result.record], watch.policy).rulings[0]


def _settings(context: Context, key: str) -> tuple[Watch, tuple[Config, ...]]:
    """What is asked for, and the defenses that are there anyway; both are checked before anything is trained."""
    text = context.run_config.get(key)
    if text is None:
        raise UsageError(f"run_config: has no {key!r}, expected settings such as  {{then: block, every: 10}}; add it")
    try:
        watch = Watch.model_validate(read_yaml(str(text), f"run_config: {key}"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join((key, *map(str, first["loc"])))
        is_unknown = first["type"] == "extra_forbidden"
        told = f"no such key, {suggestion(str(first['loc'][-1]), Watch.model_fields)}" if is_unknown else first["msg"]
        raise UsageError(f"run_config: {where}: {told}") from error
    if bool(watch.stronger) != (watch.then == "strengthen"):
        raise UsageError(
            f"run_config: {key}: got then: {watch.then} {'with' if watch.stronger else 'without'} stronger, expected stacks of "
            "defenses under stronger with  then: strengthen, and with nothing else"
        )
    for number, stack in enumerate(watch.stronger):
        built(stack, f"{key}.stronger.{number}")
    for family in ("attack", "client", "data"):
        if (config := getattr(watch, family)) is not None:
            build(family, config, f"{key}.{family}")
    if watch.threat is not None:
        threat_named(watch.threat)
    base = context.run_config.get("defenses")
    return watch, () if base is None else configured(str(base))


def _is_due(watch: Watch, message: Message, decision: Decision) -> bool:
    number = round_of(message.content, message)
    return watch.every > 0 and (decision.is_held or number is None or (number - 1) % watch.every == 0)


def _only(asked: RecordDict, reply: Message) -> Exchange:
    """The one exchange of weights that there is."""
    found = list(exchanges(asked, reply, "weights"))
    if len(found) != 1 or found[0].before is None:
        raise UsageError(
            f"reply: holds {len(found)} array records, expected one, of the weights that were received; send the state dict"
        )
    return found[0]


def _behind(exchange: Exchange, stack: tuple[Config, ...]) -> Params:
    """What is sent behind a further stack of defenses."""
    if not stack or exchange.before is None:
        return exchange.sent
    return defended(exchange.before, exchange.sent, built(stack))


def _with(reply: Message, exchange: Exchange, sent: Params) -> Message:
    if sent is not exchange.sent:
        reply.content[exchange.key] = record_of(sent)
    return reply


def _told(ruling: Ruling, exchange: Exchange, stack: tuple[Config, ...]) -> str:
    behind = f" behind {list(stack)}" if stack else ""
    reasons = " ".join(ruling.reasons)
    return f"round {exchange.manifest.round}{behind}: {ruling.result}. {reasons}".strip()


def _remembered(context: Context, stacks: int) -> Decision:
    kept = context.state.config_records.get(_STATE)
    if kept is None:
        return Decision()
    return Decision(min(int(str(kept["strength"])), stacks - 1), bool(kept["held"]))


def _remember(context: Context, decision: Decision) -> None:
    context.state[_STATE] = ConfigRecord({"strength": decision.strength, "held": decision.is_held})
