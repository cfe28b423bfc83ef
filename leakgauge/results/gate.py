"""The gate: hold finished audits against a policy. Reads records alone; needs no torch and no plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leakgauge.auditing.record import ATTACK, Outcome, Record
from leakgauge.auditing.verdict import recovered_examples
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.reading import read_yaml
from leakgauge.results.multiplicity import RATE, doubts, tested

Result = Literal["pass", "fail", "inconclusive"]
Limit = Annotated[float, Field(allow_inf_nan=False)]

EXIT: dict[Result, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


@final
class Policy(BaseModel):
    """What is accepted. An audit that leaves a limit unmeasured, or found nothing for want of a control, is inconclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Policy")

    forbid: tuple[Outcome, ...] = Field(("leaks", "partial leak"), description="Verdicts that fail.")
    max: dict[str, Limit] = Field(
        {},
        description="The most that is accepted: of a metric in any example (psnr, ssim), or of recovered_share, identified_share, "
        "label_accuracy.",
    )
    min: dict[str, Limit] = Field({}, description="The least that is accepted: of a metric in any example (mse, lpips).")
    inconclusive: Literal["inconclusive", "fail", "allow"] = Field(
        "inconclusive", description="What to make of an inconclusive audit: say so (exit code 3), fail it or let it pass."
    )
    false_discovery_rate: float = Field(
        RATE,
        gt=0,
        le=1,
        description="Of the leaks that fail, the share that may be chance, over all audits together; a leak that does not stand at "
        "this rate makes its audit inconclusive. 1 takes every verdict by itself.",
    )
    at_least: int = Field(1, ge=1, description="How many audits must be there; with fewer the gate is inconclusive.")


@final
@dataclass(frozen=True)
class Ruling:
    """What the gate says of one audit, and why."""

    key: str
    name: str
    result: Result
    reasons: tuple[str, ...]
    is_applicable: bool = True  # False where the attack does not apply to what was audited


@final
@dataclass(frozen=True)
class Rulings:
    """What the gate says of all."""

    result: Result
    reason: str
    rulings: tuple[Ruling, ...]

    @property
    def exit_code(self) -> int:
        """0 for pass, 1 for fail, 3 for inconclusive."""
        return EXIT[self.result]


def load_policy(path: Path) -> Policy:
    """Read a policy from YAML. Raises UsageError with the key that is wrong."""
    try:
        document = read_yaml(path.read_text(encoding="utf-8"), f"policy: {str(path)!r}")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise UsageError(f"policy: {str(path)!r} cannot be read ({reason}), expected a YAML file; correct the path") from error
    try:
        return Policy.model_validate({} if document is None else document)
    except ValidationError as error:
        raise UsageError(f"policy: {str(path)!r}: {_told(error)}") from error


def gate(records: Iterable[Record], policy: Policy) -> Rulings:
    """Hold every record against the policy; one that fails fails all, and then one that is inconclusive makes all so.

    Raises UsageError if there is no record, or a limit is on something that none of them measured.
    """
    found = tuple(records)
    if not found:
        raise UsageError("gate: got no audit, expected at least one; run an audit into this folder first")
    _check_names(found, policy)
    chances = doubts(found, policy.false_discovery_rate)
    count = tested(found)
    rulings = tuple(_rule(record, policy, chance, count) for record, chance in zip(found, chances, strict=True))
    results = [ruling.result for ruling in rulings]
    if "fail" in results:
        return Rulings("fail", f"{results.count('fail')} of {len(found)} audits fail.", rulings)
    if len(found) < policy.at_least:
        return Rulings("inconclusive", f"{len(found)} audits are there, {policy.at_least} are asked for.", rulings)
    if "inconclusive" in results:
        return Rulings("inconclusive", f"{results.count('inconclusive')} of {len(found)} audits are inconclusive.", rulings)
    return Rulings("pass", f"All {len(found)} audits pass.", rulings)


def _rule(record: Record, policy: Policy, adjusted: float | None, count: int) -> Ruling:
    """Hold one record against the policy; `adjusted` is the chance of its leak among `count` audits, where that is too large."""
    failures: list[str] = []
    doubts: list[str] = []
    outcome = record.verdict.outcome
    is_doubtful_leak = outcome in policy.forbid and adjusted is not None
    if is_doubtful_leak:
        doubts.append(
            f"The verdict is {outcome!r}, but among the {count} audits that were tested it has a false discovery rate of "
            f"{adjusted:.2g}, more than {policy.false_discovery_rate:g}: chance may tell as much. Audit it again with other seeds."
        )
    elif outcome in policy.forbid:
        failures.append(f"The verdict {outcome!r} is forbidden: {record.verdict.reason}")
    elif outcome in ("inconclusive", "not judged"):
        doubts.append(record.verdict.reason)
    for name, value, limit, is_broken in _against_limits(record, policy):
        if value is None:
            doubts.append(f"{name} was not measured.")
        elif is_broken:
            failures.append(f"{name} is {value:.4g}, the limit is {limit:g}.")
    ruling = partial(Ruling, record.key, record.name, is_applicable=record.status != "out_of_scope")
    if failures or (doubts and policy.inconclusive == "fail"):
        return ruling("fail", (*failures, *doubts) if policy.inconclusive == "fail" else tuple(failures))
    # Who allows what is inconclusive has not allowed what was told to leak.
    if doubts and (policy.inconclusive != "allow" or is_doubtful_leak):
        return ruling("inconclusive", tuple(doubts))
    return ruling("pass", tuple(doubts))


def _against_limits(record: Record, policy: Policy) -> Iterable[tuple[str, float | None, float, bool]]:
    for name, limit in policy.max.items():
        value = _worst(record, name, max)
        yield name, value, limit, value is not None and value > limit
    for name, limit in policy.min.items():
        value = _worst(record, name, min)
        yield name, value, limit, value is not None and value < limit


def _worst(record: Record, name: str, extreme: Callable[[Sequence[float]], float]) -> float | None:
    """A share, or the extreme of a metric over the examples; None where it was not measured."""
    trial, setting = record.trials.get(ATTACK), record.setting
    if trial is None or setting is None:
        return None
    match name:
        case "recovered_share" if trial.scores:
            return len(recovered_examples(trial)) / setting.examples
        case "identified_share" if trial.ranks:
            return sum(rank == 1 for rank in trial.ranks) / len(trial.ranks)
        case "label_accuracy":
            return trial.label_accuracy
    values = [value for value in trial.scores.get(name, ()) if value is not None]
    return extreme(values) if values else None


def _check_names(records: Sequence[Record], policy: Policy) -> None:
    """A limit that no audit can break is a slip of the pen, unless no audit came to an end."""
    metrics = {name for record in records for trial in record.trials.values() for name in trial.scores}
    known = metrics | {"recovered_share", "identified_share", "label_accuracy"}
    for kind in ("max", "min"):
        for name in getattr(policy, kind):
            if metrics and name not in known:
                raise UsageError(f"policy: {kind}.{name}: no audit measured it, {suggestion(name, known)}")


def _told(error: ValidationError) -> str:
    first = cast("dict[str, Any]", error.errors(include_url=False)[0])
    place = ".".join(map(str, first["loc"])) or "the file"
    if first["type"] == "extra_forbidden":
        return f"{place}: no such key, {suggestion(str(first['loc'][-1]), Policy.model_fields)}"
    return f"{place}: got {first['input']!r}, {first['msg'][:1].lower()}{first['msg'][1:]}"
