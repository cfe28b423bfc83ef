"""From a record to what its section of the report says: every sentence and number is settled here, templates only place them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import yaml

from leakgauge.auditing.record import ATTACK, Outcome, Record, Setting
from leakgauge.core.capabilities import NAMED
from leakgauge.core.phrasing import phrase
from leakgauge.core.registry import code_in
from leakgauge.report import words
from leakgauge.report.chart import psnr_chart
from leakgauge.report.gallery import Gallery, gallery
from leakgauge.report.numbers import duration, plural, present, significant
from leakgauge.report.pictures import Array
from leakgauge.report.scores import Table, score_table


@final
@dataclass(frozen=True)
class Audited:
    """A record with its images: "truth" and "guess.<trial>", each [n, *shape] in [0, 1]; none for an audit that failed."""

    record: Record
    images: Mapping[str, Array]


@final
@dataclass(frozen=True)
class Adversary:
    """Who could have made this attack."""

    name: str
    who: str
    had: tuple[tuple[str, str], ...]  # capability, what it is
    lacked: tuple[tuple[str, str], ...]
    weakest: str


@dataclass(frozen=True)
class Heading:
    """What an audit is called, and what came of it."""

    anchor: str
    title: str
    tone: str  # CSS class
    outcome: str
    outcome_short: str
    ending: str  # empty where the audit completed


@final
@dataclass(frozen=True)
class View(Heading):
    """One audit as it is shown."""

    reason: str
    attacked: str  # in one sentence
    meaning: str
    facts: tuple[tuple[str, tuple[str, ...]], ...]  # what was attacked: term, code
    gallery: Gallery
    is_judged: bool  # False where nobody has the private examples
    table: Table | None
    chart: str  # SVG
    chart_text: str
    adversary: Adversary | None
    diagnosis: tuple[str, ...]
    losses: str
    spec: str  # YAML
    provenance: tuple[tuple[str, str], ...]
    error: str


def heading(record: Record, anchor: str) -> Heading:
    """Settle what an audit is called: what an overview needs of it."""
    return Heading(
        anchor=anchor,
        title=record.name or (f"Audit {record.key[:12]}" if record.key else "Audit"),
        tone=_tone(record),
        outcome=_headline(record, words.TITLES),
        outcome_short=_headline(record, words.SHORT),
        ending="" if record.status == "ok" else words.ENDINGS[record.status],
    )


def view(audited: Audited, anchor: str, *, pictured: int) -> View:
    """Settle what is said about an audit. `anchor` begins every id on its part of the page."""
    record, setting = audited.record, audited.record.setting
    is_judged = record.verdict.outcome != "not judged"
    table = score_table(record, setting, anchor) if setting and record.trials and is_judged else None
    psnr = {name: trial.scores.get("psnr", ()) for name, trial in record.trials.items()}
    chart = psnr_chart(psnr, setting.threshold, anchor) if setting and is_judged else ""
    return View(
        **vars(heading(record, anchor)),
        reason=record.verdict.reason,
        attacked=_attacked(record),
        meaning=_meaning(record),
        facts=_facts(record),
        gallery=gallery(record, audited.images, pictured),
        is_judged=is_judged,
        table=table,
        chart=chart,
        chart_text="PSNR per example. " + _chart_text(table) if table else "",
        adversary=adversary_of(setting) if setting else None,
        diagnosis=record.diagnosis,
        losses=_losses(record),
        spec=yaml.safe_dump(record.spec, sort_keys=False, allow_unicode=True, width=100) if record.spec else "",
        provenance=_provenance(record),
        error=record.error or "",
    )


def _headline(record: Record, titles: Mapping[Outcome, str]) -> str:
    """The verdict in a few words; an audit that did not run to its end is called what it is."""
    if record.status in ("failed", "timed_out"):
        return words.ENDINGS[record.status].capitalize()
    return titles[record.verdict.outcome]


def _tone(record: Record) -> str:
    """The CSS class that colors the verdict."""
    return "broken" if record.status in ("failed", "timed_out") else words.TONES[record.verdict.outcome]


def anchor_for(record: Record, place: int) -> str:
    """An id for the page: readable, and unique by its place."""
    return f"audit-{place + 1}-{re.sub(r'[^a-z0-9]+', '-', record.key.lower())[:12]}".rstrip("-")


def _meaning(record: Record) -> str:
    if record.status in ("failed", "timed_out"):
        return words.UNFINISHED
    match record.verdict.outcome:
        case "leaks":
            return words.RECOVERED
        case "partial leak":
            is_of_labels = ATTACK in record.trials and record.verdict.p_value == record.trials[ATTACK].label_chance
            return words.LABELED if is_of_labels else words.NEARER
        case "inconclusive":
            return words.OPEN
        case "not judged":
            return words.UNJUDGED
        case _:
            return words.HELD


def _attacked(record: Record) -> str:
    setting = record.setting
    if setting is None:
        return ""
    attack = _short(record.spec.get("attack") or (record.trials[ATTACK].attack if ATTACK in record.trials else "no attack"))
    client = _short(record.spec.get("client") or setting.client)
    victim = f"the model {_short(record.spec['victim'])}" if "victim" in record.spec else "a model"
    defenses = " and ".join(_short(one) for one in record.spec.get("defenses") or setting.defenses)
    scale = f"{plural(setting.examples, 'example')} with {victim} of {plural(setting.parameters, 'parameter')}"
    return (
        f"The attack {attack}, with the knowledge of the threat model “{setting.threat}”, was given the update that a "
        f"{client} client computed on {scale}, "
        f"{f'defended by {defenses}' if defenses else 'without any defense'}."
    )


def _short(value: Any) -> str:
    """The name of an algorithm, from its config or its repr."""
    return str(value["name"]) if isinstance(value, Mapping) and "name" in value else str(value).partition("(")[0]


def _facts(record: Record) -> tuple[tuple[str, tuple[str, ...]], ...]:
    setting = record.setting
    if setting is None:
        return ()
    shape = " × ".join(str(side) for side in setting.input_shape)
    victim = (phrase(record.spec["victim"]),) if "victim" in record.spec else ()
    attack = record.trials[ATTACK].attack if ATTACK in record.trials else ""
    return (
        ("Model", (*victim, plural(setting.parameters, "parameter"))),
        ("Client", (setting.client,)),
        ("Defenses", setting.defenses or ("none",)),
        ("Update", (f"{plural(setting.sent, 'number')} sent in {plural(setting.rounds, 'round')}",)),
        ("Batch", (f"{plural(setting.examples, 'example')} of {shape}, {plural(setting.classes, 'class', 'classes')}",)),
        *((("Attack", (attack,)),) if attack else ()),
    )


def _chart_text(table: Table | None) -> str:
    if table is None:
        return ""
    row = next((row for row in table.rows if row.key == "psnr"), None)
    if row is None:
        return ""
    return "; ".join(f"{column}: {cell.text} {cell.detail}".strip() for column, cell in zip(table.columns, row.cells, strict=True))


def adversary_of(setting: Setting) -> Adversary:
    """Settle who could have made an attack under this setting."""
    enough = [threat.name for threat in NAMED.values() if set(setting.granted) <= set(threat.grants)]
    return Adversary(
        name=setting.threat,
        who=words.THREATS.get(setting.threat, ""),
        had=tuple((name.replace("_", " "), words.CAPABILITIES.get(name, name)) for name in setting.granted),
        lacked=tuple((name.replace("_", " "), words.CAPABILITIES.get(name, name)) for name in setting.withheld),
        weakest=enough[0] if enough else "",
    )


def _losses(record: Record) -> str:
    attack = record.trials.get(ATTACK)
    if attack is None or not attack.losses:
        return ""
    losses = sorted(present(attack.losses))
    if not losses:
        return "The attack has no loss of its own to compare with the loss at the truth."
    shown = ", ".join(significant(loss) for loss in losses[:8]) + (", …" if len(losses) > 8 else "")
    truth = (
        f"; the same objective at the truth, computed afterwards: {significant(attack.loss_at_truth)}"
        if attack.loss_at_truth is not None
        else "; the objective cannot be evaluated at the truth"
    )
    lost = len(attack.losses) - len(losses)
    ended = f" ({plural(lost, 'restart')} ended without a number)" if lost else ""
    return f"The attack’s own loss, best first, over {plural(len(attack.losses), 'restart')}: {shown}{ended}{truth}."


def _provenance(record: Record) -> tuple[tuple[str, str], ...]:
    rows: Sequence[tuple[str, str]] = (
        ("Key", record.key or "none (an audit of live objects)"),
        ("Seed", str(record.seed)),
        ("Time", duration(record.seconds)),
        *((("Code from outside", ", ".join(outside)),) if (outside := code_in(record.spec)) else ()),
        *((name.capitalize() if name != "leakgauge" else name, value) for name, value in record.environment.items()),
    )
    return tuple(rows)
