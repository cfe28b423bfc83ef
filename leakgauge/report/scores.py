"""The table of scores: what the attack reached, beside what its controls reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, LIMIT, TRAINED, Record, Setting, Trial
from leakgauge.auditing.verdict import recovered_examples
from leakgauge.core.statistics import wilson
from leakgauge.report import words
from leakgauge.report.numbers import Cell, duration, nothing, p_value, plural, present, share, summary


@final
@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    label: str
    hint: str
    cells: tuple[Cell, ...]


@final
@dataclass(frozen=True)
class Table:
    """Scores, a row per metric and a column per trial, with the reasons for what is missing."""

    anchor: str
    columns: tuple[str, ...]
    hints: tuple[str, ...]  # of the columns
    rows: tuple[Row, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def score_table(record: Record, setting: Setting, anchor: str) -> Table:
    """Settle every cell of the table; a cell without a number has its reason."""
    metrics = sorted({metric for trial in record.trials.values() for metric in trial.scores}, key=_place)
    rows = (
        *(_row(record, metric, *_labels(metric), _scores(metric)) for metric in metrics),
        _row(record, "recovered", "Examples recovered", _criterion(setting), lambda name, _: _recovered(name, record, setting)),
        _row(record, "ranks", "Identified first", _odds(setting), lambda _, trial: _identified(trial, setting)),
        _row(record, "labels", "Label accuracy", "over the batch, in any order", lambda _, trial: _labels_right(trial)),
        _row(
            record,
            "seconds",
            "Time",
            "of attacks that ran at once, an equal share",
            lambda _, trial: Cell(duration(trial.seconds), _ending(trial)),
        ),
    )
    return Table(
        anchor=anchor,
        columns=tuple(words.TRIALS[name][0] for name in _shown(record)),
        hints=tuple(words.TRIALS[name][1] for name in _shown(record)),
        rows=rows,
        reasons=tuple(dict.fromkeys(cell.missing for row in rows for cell in row.cells if cell.missing)),
        notes=_notes(record, metrics),
    )


def _shown(record: Record) -> list[str]:
    """The trials that have a column: one that only some attacks have does where it is there."""
    return [name for name in words.TRIALS if name != LIMIT or name in record.trials]


def _row(record: Record, key: str, label: str, hint: str, cell: Callable[[str, Trial], Cell]) -> Row:
    cells = []
    for name in _shown(record):
        trial = record.trials.get(name)
        cells.append(nothing(_absent(name, record)) if trial is None else cell(name, trial))
    return Row(key, label, hint, tuple(cells))


def _scores(metric: str) -> Callable[[str, Trial], Cell]:
    def cell(_: str, trial: Trial) -> Cell:
        if metric not in trial.scores:
            is_spared = metric.endswith(TRAINED) and trial.status == "ok"
            return nothing(words.UNCHANGED if is_spared else _unscored(trial))
        return summary(metric, trial.scores[metric], words.METRICS.get(_plain(metric), ("", "", ""))[1])

    return cell


def _recovered(name: str, record: Record, setting: Setting) -> Cell:
    if name in (FLOOR, BLIND):
        return nothing("recovery is counted above the floors, so a floor has none")
    if name == LIMIT:
        return nothing("the limit was found with the private pictures in hand, so it recovers nothing")
    trial = record.trials[name]
    if "psnr" not in trial.scores:
        return nothing(_unscored(trial))
    count = len(recovered_examples(record.trials[name]))
    low, high = wilson(count, setting.examples)
    return Cell(f"{count} of {setting.examples} ({share(count / setting.examples)})", f"95% interval {share(low)} to {share(high)}")


def _identified(trial: Trial, setting: Setting) -> Cell:
    if setting.candidates is None:
        return nothing("there was no other data to tell the truth from")
    if not trial.ranks:
        return nothing(_unscored(trial))
    first = sum(rank == 1 for rank in trial.ranks)
    ranks = ", ".join(str(rank) for rank in trial.ranks[:8]) + (", …" if len(trial.ranks) > 8 else "")
    chance = "" if trial.chance is None else f"; {p_value(trial.chance)}"
    return Cell(f"{first} of {len(trial.ranks)}", f"{'ranks' if len(trial.ranks) > 1 else 'rank'} {ranks}{chance}")


def _labels_right(trial: Trial) -> Cell:
    if trial.label_accuracy is None:
        return nothing("the guess holds no labels" if trial.scores else _unscored(trial))
    return Cell(share(trial.label_accuracy), "" if trial.label_chance is None else p_value(trial.label_chance))


def _ending(trial: Trial) -> str:
    return "" if trial.status == "ok" else words.ENDINGS[trial.status]


def _unscored(trial: Trial) -> str:
    if trial.status == "ok":
        return "not measured for this trial"
    return f"the trial ended {words.ENDINGS[trial.status]}{': ' + trial.message if trial.message else ''}"


def _absent(name: str, record: Record) -> str:
    if name == FLOOR and (record.setting is None or record.setting.candidates is None):
        return "there was no other data to take the floor’s update from"
    return f"the {words.TRIALS[name][0].lower()} was not run"


def _criterion(setting: Setting) -> str:
    return f"at {setting.threshold:g} dB or more, and {setting.margin:g} dB above every floor and every other image"


def _odds(setting: Setting) -> str:
    if setting.candidates is None:
        return ""
    return f"among {setting.candidates} images, by how near they are to the guesses and not to the floors; with the chance of this"


def _notes(record: Record, metrics: list[str]) -> tuple[str, ...]:
    attack = record.trials.get(ATTACK)
    scored = [len(present(values)) for trial in record.trials.values() for values in trial.scores.values()]
    notes = []
    if scored:
        fewest = min(scored)
        kind = (
            "The 95% intervals are for the median, from order statistics, over the examples of this batch."
            if fewest >= 6
            else "Below six examples the range is shown, because no 95% interval for a median exists."
        )
        size = plural(max(scored), "example")
        notes.append(f"Scores are medians over {size}. {kind}" if max(scored) > 1 else "Scores are those of the one example.")
    if any("affine" in metric for metric in metrics):
        notes.append(words.ALIGNMENT)
    if any(metric.endswith(TRAINED) for metric in metrics):
        notes.append(words.CHANGED)
    if attack is not None and record.trials.get(CONTROL) == attack:
        notes.append("The attack had every advantage already: it is its own positive control.")
    return tuple(notes)


def _labels(metric: str) -> tuple[str, str]:
    name = metric.removesuffix(TRAINED)
    label, _, hint = words.METRICS.get(_plain(name), (name, "", ""))
    if "affine" in name and label != name:
        label, hint = f"{label}, affine", f"{hint}, {words.ALIGNED}"
    return (f"{label}, as trained on", hint) if name != metric else (label, hint)


def _plain(metric: str) -> str:
    """The metric below an affine fit, whichever way the two are joined, and whatever it compares with."""
    return "".join(part for part in metric.removesuffix(TRAINED).replace("affine", "").split("_") if part)


def _place(metric: str) -> tuple[bool, int, bool, str]:
    order = list(words.METRICS)
    plain = _plain(metric)
    return (metric.endswith(TRAINED), order.index(plain) if plain in order else len(order), "affine" in metric, metric)
