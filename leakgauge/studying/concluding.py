"""From records and curves to findings: claims are judged by their intervals, views computed, every audit accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leakgauge.auditing.record import ATTACK, Record
from leakgauge.federation.running import Curve
from leakgauge.spec import AuditSpec
from leakgauge.spec.federating import FederationSpec
from leakgauge.studying.blocks import Level, named
from leakgauge.studying.cases import Case, Course
from leakgauge.studying.document import Claim, Study, View
from leakgauge.studying.findings import Audit, Cell, Findings, Judgment, Ruling, Series, Table, TrainingRun
from leakgauge.studying.results import Results
from leakgauge.studying.samples import LeftOut, Sample, Unsettled, runs
from leakgauge.studying.statistic import Statistic
from leakgauge.studying.trainings import ROUND


def conclude(
    name: str,
    study: Study,
    cases: Sequence[Case],
    records: Mapping[str, Record],
    *,
    is_quick: bool,
    command: str,
    courses: Sequence[Course] = (),
    curves: Mapping[str, Curve] | None = None,
) -> Findings:
    """Judge the claims and compute the views on the records and the curves that are there (key to record, key to curve)."""
    results = Results(study.every, tuple(cases), records, is_quick, tuple(courses), curves or {})
    there = {case.key: records[case.key] for case in cases if case.key in records}
    trained = {one.key: results.curves[one.key] for one in courses if one.key in results.curves}
    environments = list(there.values())
    specs: list[AuditSpec | FederationSpec] = [*(case.spec for case in cases), *(one.spec for one in courses)]
    return Findings(
        name=name,
        question=study.question,
        method=study.method,
        command=command,
        is_quick=is_quick,
        data=tuple(dict.fromkeys(_data(spec.config["data"]) for spec in specs)),
        claims=tuple(_judge(claim, results) for claim in study.claims),
        tables=tuple(table for view in study.views if (table := _table(study, view, results)).series),
        audits=tuple(_audit(case, records.get(case.key)) for case in cases),
        seconds=sum(record.seconds for record in there.values()) + sum(map(_duration, trained.values())),
        environments=tuple(
            {str(sorted(one.environment.items())): one.environment for one in environments if one.environment}.values()
        ),
        trainings=tuple(_training_run(one, results.curves.get(one.key)) for one in courses),
    )


def _judge(claim: Claim, results: Results) -> Judgment:
    bounds = [f"{sign} {bound:g}" for sign, bound in (("≥", claim.at_least), ("≤", claim.at_most)) if bound is not None]
    bound = " and ".join(bounds).replace("-", "−")
    try:
        found = claim.measure(results)
    except Unsettled as reason:
        return Judgment(claim.text, bound, claim.unit, "cannot tell", reason=str(reason))
    except LeftOut as reason:
        ruling: Ruling = "left out" if results.is_quick else "cannot tell"  # the whole run leaves nothing out
        return Judgment(claim.text, bound, claim.unit, ruling, reason=str(reason))
    measured = found if isinstance(found, Statistic) else Statistic(float(found), 1)
    is_exact = not isinstance(found, Statistic) and not results.is_quick
    return Judgment(claim.text, bound, claim.unit, _ruling(claim, measured, is_exact=is_exact), measured)


def _ruling(claim: Claim, measured: Statistic, *, is_exact: bool) -> Ruling:
    """Judge by the interval: within the bounds it holds, outside it fails, and what reaches over a bound rests on too few.

    So does what has no interval, unless it is a count of what happened (`is_exact`).
    """
    if is_exact:
        return "holds" if claim.holds(measured.value) else "fails"
    if measured.interval is None:
        return "too few to tell"
    low, high = measured.interval
    if claim.holds(low) and claim.holds(high):
        return "holds"
    is_below = claim.at_least is not None and high < claim.at_least
    is_above = claim.at_most is not None and low > claim.at_most
    return "fails" if is_below or is_above else "too few to tell"


def _table(study: Study, view: View, results: Results) -> Table:
    block, trains = named(results.blocks, view.block), study.trains(view.block)
    levels = _rounds(view, results) if trains and view.x == ROUND else block.kept(view.x, is_quick=results.is_quick)
    lines: tuple[Level | None, ...] = (None,)
    if view.by is not None:
        lines = tuple(one for one in block.kept(view.by, is_quick=results.is_quick) if view.only.get(view.by, one) == one)
    series = []
    for line in lines:
        fixed = {**view.only, **({} if view.by is None or line is None else {view.by: line})}
        if trains:
            cells = tuple(_trained(view, fixed, level, results) for level in levels)
            series += [Series(str(line or ""), cells)] if results.select_trainings(view.block, fixed).courses else []
            continue
        for trial in view.trials:
            if not any(runs(case, trial) for case in results.select(view.block, fixed).cases):
                continue
            names = [*(() if line is None else (str(line),)), *((trial,) if trial != ATTACK or line is None else ())]
            cells = tuple(_cell(view, trial, results.select(view.block, {**fixed, view.x: level})) for level in levels)
            series.append(Series(", ".join(names), cells))
    return Table(view, levels, tuple(series))


def _rounds(view: View, results: Results) -> tuple[int, ...]:
    """After which rounds the trainings of a view were looked at."""
    specs = [one.spec for one in results.select_trainings(view.block, view.only).courses]
    return tuple(sorted({number for one in specs for number in (*range(one.every, one.rounds + 1, one.every), one.rounds)}))


def _trained(view: View, fixed: Mapping[str, Level], level: Level, results: Results) -> Cell:
    after = int(level) if view.x == ROUND else None
    sample = results.select_trainings(view.block, fixed if view.x == ROUND else {**fixed, view.x: level})
    values = sample.values(view.score, after)
    stopped = len(sample.distinct) - len(sample.missing) - len(values)
    return Cell(sample.mean(view.score, after) if values else None, len(sample.missing), stopped)


def _cell(view: View, trial: str, sample: Sample) -> Cell:
    if not any(case.key in sample.records for case in sample.cases):
        return Cell(None, missing=len(sample.missing))
    match view.statistic:
        case "median":
            statistic = sample.median(view.score, trial)
        case "mean":
            statistic = sample.mean(view.score, trial)
        case "share":
            statistic = sample.share(view.threshold, view.score, trial)
    return Cell(statistic, len(sample.missing), len(sample.blank(trial)))


def _audit(case: Case, record: Record | None) -> Audit:
    if record is None:
        return Audit(case.block, case.levels, case.key, "missing")
    trials = record.trials
    return Audit(
        case.block,
        case.levels,
        case.key,
        record.status,
        {name: trial.scores for name, trial in trials.items()},
        {name: trial.label_accuracy for name, trial in trials.items()},
    )


def _training_run(course: Course, curve: Curve | None) -> TrainingRun:
    if curve is None:
        return TrainingRun(course.block, course.levels, course.key, "missing")
    return TrainingRun(course.block, course.levels, course.key, curve.status, curve.points)


def _duration(curve: Curve) -> float:
    before = (0, *(point.round for point in curve.points))
    return sum((point.round - since) * point.seconds for since, point in zip(before, curve.points, strict=False))


def _data(config: Mapping[str, Any]) -> str:
    """The name of the data; of a path, the last part only, for findings are passed on."""
    path = config.get("path")
    return f"{config['name']} ({str(path).replace(chr(92), '/').rpartition('/')[2]})" if path else str(config["name"])
