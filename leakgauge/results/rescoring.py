"""Finished audits, judged by other criteria than when they ran: from their records alone, without a new attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leakgauge.auditing.diagnosis import diagnose
from leakgauge.auditing.record import ATTACK, Numbers, Record, Setting, Trial
from leakgauge.auditing.verdict import decide
from leakgauge.core.errors import UsageError, suggestion


@final
class Rescoring(BaseModel):
    """The criteria to change; what is None stays as it was. Ranks stay as they are: other images would take a new audit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float | None = Field(None, gt=0, allow_inf_nan=False)  # dB
    margin: float | None = Field(None, ge=0, allow_inf_nan=False)  # dB
    alpha: float | None = Field(None, gt=0, le=1)


def rescoring(settings: Sequence[str]) -> Rescoring:
    """Read criteria from KEY=VALUE. Raises UsageError with the key that is wrong."""
    pairs = [one.partition("=") for one in settings]
    try:
        return Rescoring.model_validate({key.strip(): value.strip() for key, _, value in pairs})
    except ValidationError as error:
        first = cast("dict[str, Any]", error.errors(include_url=False)[0])
        key = str(first["loc"][-1])
        if first["type"] == "extra_forbidden":
            told = f"no such criterion that a finished audit can be judged by, {suggestion(key, Rescoring.model_fields)}"
            raise UsageError(f"rescore.{key}: {told}; for others run the audit again") from error
        raise UsageError(f"rescore.{key}: got {first['input']!r}, {first['msg'][:1].lower()}{first['msg'][1:]}") from error


def rescored(record: Record, by: Rescoring) -> Record:
    """Return a record as other criteria judge it; one that was never judged, or did not run to its end, as it is.

    Raises UsageError for a record that does not hold what its scores were compared with.
    """
    setting = record.setting
    if setting is None or ATTACK not in record.trials or record.verdict.outcome == "not judged":
        return record
    changes = {name: value for name, value in by.model_dump(exclude_none=True).items() if value != getattr(setting, name)}
    if not changes:
        return record
    if "alpha" in changes:
        changes["power"] = None  # whether updates of other batches were inverted was a question of the old level
    ruled = replace(setting, **changes)
    trials = {name: _barred(record, trial, ruled) for name, trial in record.trials.items()}
    old = diagnose(record.trials, setting)
    return replace(
        record,
        verdict=decide(trials, ruled, ruled.alpha),
        setting=ruled,
        trials=trials,
        diagnosis=(_told(setting, ruled), *diagnose(trials, ruled), *(note for note in record.diagnosis if note not in old)),
    )


def _barred(record: Record, trial: Trial, setting: Setting) -> Trial:
    """A trial whose bars are those of other criteria."""
    if missing := sorted(set(trial.bars) - set(trial.rivals)):
        raise UsageError(
            f"rescore: the audit {record.name or record.key!r} does not hold what its {missing[0]} was compared with, expected one "
            "of this version of leakgauge; run the audit again"
        )
    return replace(trial, bars={name: _bars(rivals, setting) for name, rivals in trial.rivals.items()})


def _bars(rivals: Numbers, setting: Setting) -> Numbers:
    return tuple(None if rival is None else max(setting.threshold, rival + setting.margin) for rival in rivals)


def _told(old: Setting, new: Setting) -> str:
    units = {"threshold": " dB", "margin": " dB", "alpha": ""}
    changed = [
        f"{name} {getattr(new, name):g}{unit} in place of {getattr(old, name):g}{unit}"
        for name, unit in units.items()
        if getattr(new, name) != getattr(old, name)
    ]
    return f"Judged by other criteria than when the audit ran: {', '.join(changed)}. No attack was run again."
