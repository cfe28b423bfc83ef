"""A page a model: what its audits come to, who could have made them, what stood beside them, and what nobody tried."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, Record, Setting
from leakgauge.auditing.verdict import leakage
from leakgauge.core.capabilities import NAMED
from leakgauge.core.phrasing import phrase
from leakgauge.core.registry import code_in, entries
from leakgauge.core.statistics import wilson
from leakgauge.report import words
from leakgauge.report.numbers import p_value, plural, present, share
from leakgauge.report.overview import Overview, overview
from leakgauge.report.page import environment
from leakgauge.report.view import Adversary, Audited, View, adversary_of, anchor_for, view


@final
@dataclass(frozen=True)
class Line:
    """The audits of one attack, against one stack of defenses."""

    attack: str
    defenses: str
    audits: int
    leaks: str
    best: str


@final
@dataclass(frozen=True)
class Card:
    """What is known of one model."""

    anchor: str
    title: str
    facts: tuple[tuple[str, str], ...]
    summed: Overview
    adversaries: tuple[tuple[Adversary, str], ...]  # with how many of the audits under each leak
    lines: tuple[Line, ...]
    controls: tuple[str, ...]
    worst: View | None
    untried: tuple[str, ...]


def render_models(audits: Sequence[Audited], *, is_redacted: bool = False) -> str:
    """Return the page: audits of one model together, in the order of the first of each."""
    groups: dict[str, list[Audited]] = {}
    for audited in audits:
        groups.setdefault(_identity(audited.record), []).append(audited)
    cards = [_card(group, place) for place, group in enumerate(groups.values())]
    strips = {strip.name: strip for card in cards if card.worst for strip in card.worst.gallery.strips}
    return environment().get_template("models.html.j2").render(cards=cards, strips=list(strips.values()), is_redacted=is_redacted)


def _identity(record: Record) -> str:
    """Audits of one file share a model where its victim and training are the same; those of live objects where its weights are."""
    if "victim" in record.spec:
        return json.dumps([record.spec["victim"], record.spec.get("training")], sort_keys=True, default=str)
    return record.setting.model if record.setting else record.key


def _card(audits: Sequence[Audited], place: int) -> Card:
    records = [audited.record for audited in audits]
    settings = [record.setting for record in records if record.setting]
    views = [view(Audited(record, {}), anchor_for(record, number), pictured=0) for number, record in enumerate(records)]
    spec = records[0].spec
    return Card(
        anchor=f"model-{place + 1}",
        title=phrase(spec["victim"]) if "victim" in spec else f"Model {settings[0].model}" if settings else "A model",
        facts=tuple(_facts(records, settings)),
        summed=overview(records, views),
        adversaries=tuple(_adversaries(records)),
        lines=tuple(_lines(records)),
        controls=tuple(_controls(records)),
        worst=_worst(audits, place),
        untried=tuple(_untried(records, settings)),
    )


def _facts(records: Sequence[Record], settings: Sequence[Setting]) -> Iterator[tuple[str, str]]:
    if settings:
        first = settings[0]
        prints = list(dict.fromkeys(one.model for one in settings if one.model))
        more = f", and {len(prints) - _MOST} more" if len(prints) > _MOST else ""
        yield "Weights", f"{', '.join(prints[:_MOST])}{more} (SHA-256, the first 16 digits)" if prints else "not recorded"
        yield "Size", f"{plural(first.parameters, 'parameter')}, {plural(first.classes, 'class', 'classes')}"
        yield "Inputs", " × ".join(map(str, first.input_shape))
    if training := records[0].spec.get("training"):
        yield "Trained", phrase(training) if training.get("steps") else "not before the audits"
    if outside := sorted({name for record in records for name in code_in(record.spec)}):
        yield "Code from outside", ", ".join(outside)
    yield "Seeds", plural(len({record.seed for record in records}), "seed")
    for name, count in Counter(one for record in records for one in _versions(record)).items():
        yield name, plural(count, "audit")


def _versions(record: Record) -> Iterator[str]:
    if "leakgauge" in record.environment:
        yield f"leakgauge {record.environment['leakgauge']}"


def _is_leak(record: Record) -> bool:
    return record.verdict.outcome in ("leaks", "partial leak")


def _leaking(records: Sequence[Record]) -> str:
    count = sum(map(_is_leak, records))
    low, high = wilson(count, len(records))
    return f"{count} of {plural(len(records), 'audit')} (95% interval {share(low)} to {share(high)})"


def _adversaries(records: Sequence[Record]) -> Iterator[tuple[Adversary, str]]:
    under: dict[tuple[str, tuple[str, ...]], list[tuple[Record, Setting]]] = {}
    for record in records:
        if record.setting:
            under.setdefault((record.setting.threat, record.setting.granted), []).append((record, record.setting))
    for found in under.values():
        yield adversary_of(found[0][1]), _leaking([record for record, _ in found])


def _lines(records: Sequence[Record]) -> Iterator[Line]:
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.setting:
            attack = record.trials[ATTACK].attack if ATTACK in record.trials else ""
            defenses = (
                phrase(record.spec["defenses"]) if "defenses" in record.spec else ", ".join(record.setting.defenses) or "none"
            )
            found.setdefault((phrase(record.spec.get("attack") or attack), defenses), []).append(record)
    for (attack, defenses), group in found.items():
        scores = [value for one in group if ATTACK in one.trials for value in present(one.trials[ATTACK].scores.get("psnr", ()))]
        yield Line(attack, defenses, len(group), _leaking(group), f"{max(scores):z.1f} dB" if scores else "not measured")


def _controls(records: Sequence[Record]) -> Iterator[str]:
    """What stood beside the attacks, as it ran."""
    judged = [(record, record.setting) for record in records if record.setting and record.verdict.outcome != "not judged"]
    if not judged:
        yield "No audit was judged, so no control ran."
        return
    ran = {name: sum(name in record.trials for record, _ in judged) for name in (CONTROL, FLOOR, BLIND)}
    found = sum(bool(leakage(CONTROL, record.trials, setting, setting.alpha)) for record, setting in judged)
    all_of = f"of {plural(len(judged), 'judged audit')}"
    yield f"A positive control ran in {ran[CONTROL]} {all_of}, and found a leak in the undefended update in {found}."
    yield f"A floor, the attack on an update of other data, ran in {ran[FLOOR]} {all_of}, and a blind guess in {ran[BLIND]}."
    pools = [setting.candidates for _, setting in judged if setting.candidates]
    if pools:
        size = f"{min(pools)}" if min(pools) == max(pools) else f"{min(pools)} to {max(pools)}"
        yield f"In {len(pools)} {all_of}, private examples were looked for among {size} images."
    least = [setting.least_chance for _, setting in judged if setting.least_chance is not None]
    if least:
        yield f"Ranks could show {p_value(max(least))} or less in each of these."


def _worst(audits: Sequence[Audited], place: int) -> View | None:
    """The audit whose attack came nearest to a private picture, of those that leak where any does; with that picture alone."""

    def rank(audited: Audited) -> tuple[bool, bool, float]:
        record = audited.record
        scores = present(record.trials[ATTACK].scores.get("psnr", ()))
        return record.verdict.outcome == "leaks", _is_leak(record), max(scores)

    scored = [one for one in audits if ATTACK in one.record.trials and present(one.record.trials[ATTACK].scores.get("psnr", ()))]
    if not scored:
        return None
    worst = max(scored, key=rank)
    return view(worst, f"model-{place + 1}-worst", pictured=1)


def _untried(records: Sequence[Record], settings: Sequence[Setting]) -> Iterator[str]:
    """What none of the audits did; each line was looked up in the records."""
    granted = {one for setting in settings for one in setting.granted}
    if never := [name for name in words.CAPABILITIES if name not in granted]:
        yield f"No adversary had: {'; '.join(words.CAPABILITIES[name] for name in never)}."
    asked = {setting.granted for setting in settings}
    if missed := [name for name, threat in NAMED.items() if tuple(sorted(threat.grants)) not in asked]:
        yield f"Of the named threat models, these were not tried: {', '.join(missed)}."
    attacks = [record.spec.get("attack") for record in records]
    names = {str(one.get("name")) if isinstance(one, dict) else str(one) for one in attacks if one}
    if all(attacks) and (others := [name for name in entries("attack") if name not in names]):
        yield f"Of the attacks that are installed, these were not run: {', '.join(others)}."
    if settings and all(setting.rounds == 1 for setting in settings):
        yield "Every adversary saw one round only."
    if settings and len(sizes := {setting.examples for setting in settings}) == 1:
        yield f"Every update was of {plural(sizes.pop(), 'example')}."
    if settings and len(clients := {setting.client for setting in settings}) == 1:
        yield f"Every client was {clients.pop()}."
    if len({record.seed for record in records}) == 1:
        yield "There was one seed only: other weights, other examples and other starts of the attack may fare differently."
    if settings and all(setting.defenses for setting in settings):
        yield "Without its defenses, the model was audited by the positive control alone."
    if unused := sorted({one for setting in settings for one in setting.unused}):
        yield f"Granted, and as far as attacks say not made use of: {', '.join(one.replace('_', ' ') for one in unused)}."


_MOST = 3
"""Fingerprints that are written out."""
