"""A strip plot of PSNR per example: the attack against its floors and its control."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from leakgauge.record import ATTACK, BLIND, CONTROL, FLOOR
from leakgauge.report.numbers import median, present
from leakgauge.report.words import TRIALS

# matplotlib knows no CSS variables: these stand in for them and are replaced in the text
_INKS = {"#010203": "var(--ink)", "#010204": "var(--line)", "#010205": "var(--muted)", "#010206": "var(--accent)"}
_INK, _LINE, _MUTED, _ACCENT = _INKS
_MARKS = {ATTACK: ("o", _ACCENT), FLOOR: ("s", _MUTED), BLIND: ("^", _MUTED), CONTROL: ("D", _INK)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "leakgauge",
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _LINE,
    "xtick.color": _MUTED,
    "ytick.color": _INK,
    "axes.unicode_minus": True,
}


def psnr_chart(values: Mapping[str, Sequence[float | None]], threshold: float, anchor: str) -> str:
    """Draw one row of marks per trial; SVG text whose colors are CSS variables and whose ids begin with `anchor`."""
    rows = [name for name in TRIALS if present(values.get(name, ()))]
    if not rows:
        return ""
    with rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 0.75 + 0.42 * len(rows)), dpi=72)
        axes = figure.add_axes((0.21, 0.55 / figure.get_figheight(), 0.76, 1 - 0.8 / figure.get_figheight()))
        axes.axvline(threshold, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        for place, name in enumerate(rows):
            marker, ink = _MARKS[name]
            count = len(values[name])
            drift = np.linspace(-0.24, 0.24, count) if count > 1 else np.zeros(1)
            points = [(value, place + dy) for value, dy in zip(values[name], drift, strict=True) if value is not None]
            axes.plot(*zip(*points, strict=True), marker, color=ink, markersize=5.5, markeredgewidth=0, alpha=0.75)
            axes.plot([median(present(values[name]))] * 2, [place - 0.36, place + 0.36], color=ink, linewidth=2)
        shown = [threshold, *(value for name in rows for value in present(values[name]))]
        spread = max(shown) - min(shown) or 1.0
        axes.set_xlim(min(shown) - 0.09 * spread, max(shown) + 0.09 * spread)  # room for the label of the threshold
        axes.set_yticks(range(len(rows)), [TRIALS[name][0] for name in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(length=0)
        axes.set_xlabel("PSNR per example (dB)")
        axes.text(threshold, -0.56, f"threshold {threshold:g} dB", ha="center", va="bottom", color=_INK, size=10)
        axes.grid(axis="x", color=_LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _for_page(buffer.getvalue(), anchor)


def _for_page(svg: str, anchor: str) -> str:
    """Leave the drawing alone and take the rest away: prolog, page-wide style, fixed size, ids that other drawings share."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r'\bid="', f'id="{anchor}-', svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{anchor}-', svg)
    svg = svg.replace("url(#", f"url(#{anchor}-")
    for ink, variable in _INKS.items():
        svg = svg.replace(ink, variable)
    return svg.strip()
