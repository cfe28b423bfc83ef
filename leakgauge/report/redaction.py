"""A report without what is private: every number stays, pictures, labels, places of files and tracebacks go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from leakgauge.auditing.record import Record

_PLACES = frozenset({"path", "root", "weights", "before", "after", "generator"})
"""Settings that name a file or a folder: of these, the last part stays."""
WITHHELD = "withheld: this report is redacted"


def redacted_record(record: Record) -> Record:
    """Return a record without the labels of private examples, the folders of files, and what an error said."""
    setting, error = record.setting, None if record.error is None else WITHHELD
    if setting is not None:
        defenses = tuple(map(_without_folders, setting.defenses))
        setting = replace(setting, class_names=(), client=_without_folders(setting.client), defenses=defenses)
    trials = {
        name: replace(trial, attack=_without_folders(trial.attack), message=_without_folders(trial.message))
        for name, trial in record.trials.items()
    }
    told = tuple(map(_without_folders, record.diagnosis))
    verdict = replace(record.verdict, reason=_without_folders(record.verdict.reason))
    spec = _without_places(record.spec)
    return replace(record, setting=setting, trials=trials, diagnosis=told, verdict=verdict, spec=spec, error=error)


def _without_folders(text: str) -> str:
    """Text in which a quoted path, as an algorithm's settings may hold, is only its last part."""
    return re.sub(r"'([^'\n]*[/\\][^'\n]*)'", lambda found: repr(re.split(r"[/\\]", found[1].rstrip("/\\"))[-1]), text)


def _without_places(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _without_places(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(part, name) for part in value]
    return PurePath(value).name if name in _PLACES and isinstance(value, str) else value
