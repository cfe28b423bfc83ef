"""The gallery: each private example beside what the attack and its controls made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import final

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, LIMIT, TRAINED, Record, Trial
from leakgauge.report import words
from leakgauge.report.pictures import Array, Strip, is_picture, strip

_ROLES = {ATTACK: "Attack", FLOOR: "Floor", BLIND: "Blind", CONTROL: "Control", LIMIT: "Limit"}


@final
@dataclass(frozen=True)
class Piece:
    """One picture with its caption."""

    role: str
    strip: str  # CSS class of its strip; empty where there is no picture
    position: str
    alt: str
    lines: tuple[str, ...]


@final
@dataclass(frozen=True)
class Example:
    """One private example, and what was made of it."""

    title: str
    pieces: tuple[Piece, ...]


@final
@dataclass(frozen=True)
class Gallery:
    """What is shown of a batch; `note` says what is not, and why."""

    examples: tuple[Example, ...] = ()
    strips: tuple[Strip, ...] = ()
    note: str = ""


def gallery(record: Record, images: Mapping[str, Array], limit: int) -> Gallery:
    """Show up to `limit` examples: all in order, or evenly from the best to the worst PSNR of the attack."""
    setting = record.setting
    if setting is None or not images:
        return Gallery()
    if not is_picture(setting.input_shape):
        shape = " × ".join(str(side) for side in setting.input_shape)
        return Gallery(note=f"The inputs are not images (shape {shape}), so no pictures are shown; the scores compare them.")
    rows, note = _chosen(record.trials.get(ATTACK), setting.examples, limit)
    if setting.input_shape[0] not in (1, 3):
        note = f"{note} Inputs have {setting.input_shape[0]} channels; shown is their mean.".strip()
    if "truth" not in images:
        return _rebuilt(record, images, rows, note)
    strips = {"truth": strip(images["truth"], rows)}
    for name in _ROLES:
        pixels = images.get(f"guess.{name}")
        strips[name] = None if pixels is None else strip(pixels, rows)
    examples = []
    for place, row in enumerate(rows):
        label = setting.class_names[row]
        truth = _piece("Truth", strips["truth"], place, f"private example {row + 1}, class {label}", ())
        guesses = [
            _piece(title, strips[name], place, f"{name} for example {row + 1}", _lines(record, name, row))
            for name, title in _ROLES.items()
            if name != LIMIT or name in record.trials
        ]
        examples.append(Example(f"Example {row + 1}: {label}", (truth, *guesses)))
    return Gallery(tuple(examples), tuple(found for found in strips.values() if found), note)


def _rebuilt(record: Record, images: Mapping[str, Array], rows: Sequence[int], note: str) -> Gallery:
    """What the attack made, where nobody has the private examples."""
    setting, drawn = record.setting, strip(images[f"guess.{ATTACK}"], rows)
    names = setting.class_names if setting else ()
    examples = tuple(
        Example(f"Guess {row + 1}: taken for {names[row]}", (_piece("Attack", drawn, place, f"attack’s guess {row + 1}", ()),))
        for place, row in enumerate(rows)
    )
    return Gallery(examples, (drawn,) if drawn else (), note)


def _chosen(attack: Trial | None, count: int, limit: int) -> tuple[Sequence[int], str]:
    if count <= limit:
        return range(count), ""
    scores = attack.scores.get("psnr", ()) if attack else ()
    if not scores:
        return range(limit), f"The first {limit} of {count} examples."
    order = sorted(range(count), key=lambda row: -inf if (value := scores[row]) is None else value, reverse=True)
    picked = [order[round(step * (count - 1) / max(1, limit - 1))] for step in range(limit)]
    return picked, f"{limit} of {count} examples, evenly from the attack’s best PSNR to its worst."


def _piece(role: str, drawn: Strip | None, place: int, alt: str, lines: tuple[str, ...]) -> Piece:
    if drawn is None or not drawn.has[place]:
        return Piece(role, "", "", f"no picture: {alt}", lines or ("no guess",))
    return Piece(role, drawn.name, drawn.position(place), alt, lines)


def _lines(record: Record, name: str, row: int) -> tuple[str, ...]:
    trial = record.trials.get(name)
    if trial is None:
        return ("not run",)
    lines = []
    for metric, form in (("psnr", "{:z.1f} dB"), ("psnr" + TRAINED, "{:z.1f} dB as trained on"), ("ssim", "SSIM {:z.2f}")):
        value = trial.scores[metric][row] if metric in trial.scores else None
        if value is not None:
            lines.append(form.format(value).replace("-", "−"))
    if trial.ranks and record.setting and record.setting.candidates:
        lines.append(f"rank {trial.ranks[row]}/{record.setting.candidates}")
    return tuple(lines) or (words.ENDINGS[trial.status],)
