"""The report as one self-contained page, and as a fragment for a notebook. Pure: records and images in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leakgauge.auditing.record import Record
from leakgauge.core.printable import printable
from leakgauge.report import words
from leakgauge.report.numbers import DASH
from leakgauge.report.overview import overview
from leakgauge.report.pictures import Array, Strip
from leakgauge.report.view import Audited, View, anchor_for, heading, view

_PICTURES, _MOST, _FEWEST = 240, 8, 2  # examples shown on a page, and of one audit: a large sweep stays a page one can open


def render(audits: Sequence[Audited], *, is_redacted: bool = False) -> str:
    """Return the page for these audits, in their order: the same text for the same input. A redacted one says so."""
    pictured = max(_FEWEST, min(_MOST, _PICTURES // max(1, len(audits))))
    views = [view(audited, anchor_for(audited.record, place), pictured=pictured) for place, audited in enumerate(audits)]
    records = [audited.record for audited in audits]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            views=views,
            is_redacted=is_redacted,
            overview=overview(records, views) if len(views) > 1 else None,
            strips=_distinct(views),
            versions=sorted({record.environment["leakgauge"] for record in records if "leakgauge" in record.environment}),
        )
    )


def render_overview(records: Sequence[Record], links: Sequence[str], *, is_redacted: bool = False) -> str:
    """Return a page that sums up audits and leads to a page of each: for more than one page can show."""
    headings = [heading(record, anchor_for(record, place)) for place, record in enumerate(records)]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            views=[],
            is_redacted=is_redacted,
            overview=overview(records, headings, links),
            strips=[],
            versions=sorted({record.environment["leakgauge"] for record in records if "leakgauge" in record.environment}),
        )
    )


def fragment(record: Record, images: Mapping[str, Array]) -> str:
    """Return one audit as a piece of HTML that brings its own style and leaves the rest of the page alone."""
    shown = view(Audited(record, images), anchor_for(record, 0), pictured=_MOST)
    return environment().get_template("fragment.html.j2").render(view=shown, strips=_distinct([shown]))


def _distinct(views: Iterable[View]) -> list[Strip]:
    """Every strip once: the audits of a sweep share their truths."""
    return list({strip.name: strip for shown in views for strip in shown.gallery.strips}.values())


@cache
def environment() -> Environment:
    """The templates, with what they may call."""
    environment = Environment(
        loader=PackageLoader("leakgauge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_text,
    )
    environment.globals.update(words=words, dash=DASH)
    environment.filters["drawing"] = Markup  # matplotlib escapes the text of its drawings itself
    return environment


def _text(value: object) -> object:
    """What an expression of a template puts on the page, with nothing in it that turns or hides text."""
    return type(value)(printable(value)) if isinstance(value, str) else value
