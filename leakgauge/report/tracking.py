"""Finished audits as runs of MLflow, at the server or in the database that was named: nothing goes anywhere else.

A run has what a redacted report has: settings, scores, the verdict. No picture, no label of a private example, no folder. The
results on disk stay what is true; an audit that is logged already is not logged again.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final

from leakgauge.auditing.record import ATTACK, Record
from leakgauge.auditing.verdict import recovered_examples
from leakgauge.core.errors import MissingExtra, UsageError, one_line
from leakgauge.core.phrasing import phrase
from leakgauge.report.numbers import median, present
from leakgauge.report.redaction import redacted_record

KEY = "leakgauge.key"
"""The tag by which an audit is known again."""
_LONGEST = 5000
"""Characters of a parameter or tag; MLflow takes 6,000 and 8,000."""


@final
class Tracked(NamedTuple):
    """How many audits were logged, and how many were there already."""

    logged: int
    there: int


def track(records: Sequence[Record], uri: str, *, experiment: str) -> Tracked:
    """Log records as runs of an experiment, which is made if it is not there.

    Raises UsageError where MLflow cannot be reached or does not take them: those logged before stay; MissingExtra without MLflow.
    """
    client, refused = _client(uri)
    try:
        found = client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else client.create_experiment(experiment)
        logged = sum(_log(client, number, redacted_record(record)) for record in records)
    except refused as error:
        raise UsageError(
            f"mlflow: {uri!r} does not take the audits ({one_line(error)}), expected a tracking server or a database that is "
            "there, such as http://localhost:5000 or sqlite:///mlflow.db; what was logged before stays"
        ) from error
    return Tracked(logged, len(records) - logged)


def _log(client: Any, experiment: str, record: Record) -> bool:
    """Log one record, unless it is there."""
    from mlflow.entities import Metric, Param, RunStatus, RunTag

    there = client.search_runs([experiment], filter_string=f"tags.`{KEY}` = '{record.key}' and attributes.status != 'RUNNING'")
    if there:
        return False
    run = client.create_run(experiment, run_name=record.name or record.key).info.run_id
    client.log_batch(
        run,
        metrics=[Metric(name, value, 0, 0) for name, value in _metrics(record)],
        params=[Param(name, value[:_LONGEST]) for name, value in _parameters(record)],
        tags=[RunTag(name, value[:_LONGEST]) for name, value in _tags(record)],
    )
    ended = RunStatus.FAILED if record.status in ("failed", "timed_out") else RunStatus.FINISHED
    client.set_terminated(run, status=RunStatus.to_string(ended))
    return True


def _metrics(record: Record) -> Iterator[tuple[str, float]]:
    """Medians over examples of every score of every trial, and what the verdict rests on."""
    for name, trial in record.trials.items():
        prefix = "" if name == ATTACK else f"{name}/"
        for metric, values in trial.scores.items():
            if numbers := present(values):
                yield f"{prefix}{metric}", median(numbers)
    attack = record.trials.get(ATTACK)
    if attack is not None and record.setting is not None and record.verdict.outcome != "not judged":
        yield "recovered_share", len(recovered_examples(attack)) / record.setting.examples
        if attack.ranks:
            yield "identified_share", sum(rank == 1 for rank in attack.ranks) / len(attack.ranks)
        if attack.label_accuracy is not None:
            yield "label_accuracy", attack.label_accuracy
    if record.verdict.p_value is not None:
        yield "p_value", record.verdict.p_value
    yield "seconds", record.seconds


def _parameters(record: Record) -> Iterator[tuple[str, str]]:
    for name, value in record.spec.items():
        yield from _flat(name, value)
    if record.setting is not None:
        yield "setting.threat", record.setting.threat
        yield "setting.parameters", str(record.setting.parameters)
        yield "setting.model", record.setting.model
        yield "setting.defenses", ", ".join(record.setting.defenses) or "none"


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A part of a file by its name, or in words, and each of its settings by a name of its own."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(name if key == "name" else f"{name}.{key}", part)
    else:
        yield name, phrase(value)


def _tags(record: Record) -> Iterator[tuple[str, str]]:
    yield KEY, record.key
    yield "leakgauge.verdict", record.verdict.outcome
    yield "leakgauge.reason", record.verdict.reason
    yield "leakgauge.status", record.status
    yield "leakgauge.version", record.environment.get("leakgauge", "")


def _client(uri: str) -> tuple[Any, type[Exception]]:
    """A client that asks for nothing beside the URI, and what it raises."""
    silence()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # seven, with pauses in between, look like a hang
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise MissingExtra("a log for MLflow", "mlflow") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what MLflow is made of
            return MlflowClient(tracking_uri=uri), MlflowException
    except (MlflowException, OSError) as error:
        raise UsageError(f"mlflow: got {uri!r} ({one_line(error)}), expected such as sqlite:///mlflow.db; correct it") from error


def silence() -> None:
    """Switch off MLflow's telemetry, which begins with its import, unless the environment says otherwise."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
