"""A strip plot of PSNR per example: the attack against its floors and its control."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, LIMIT
from leakgauge.report.numbers import median, present
from leakgauge.report.words import TRIALS

# matplotlib knows no CSS variables: these stand in for them and are replaced in the text
INKS = {"#010203": "var(--ink)", "#010204": "var(--line)", "#010205": "var(--muted)", "#010206": "var(--accent)"}
_INK, _LINE, _MUTED, _ACCENT = INKS
_MARKS = {ATTACK: ("o", _ACCENT), FLOOR: ("s", _MUTED), BLIND: ("^", _MUTED), CONTROL: ("D", _INK), LIMIT: ("v", _INK)}
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "leakgauge", "font.size": 11}


def psnr_chart(values: Mapping[str, Sequence[float | None]], threshold: float, anchor: str) -> str:
    """Draw one row of marks per trial; SVG text whose colors are CSS variables and whose ids begin with `anchor`."""
    rows = [name for name in TRIALS if present(values.get(name, ()))]
    if not rows:
        return ""
    shown = [threshold, *(value for name in rows for value in present(values[name]))]
    room = 0.09 * (max(shown) - min(shown) or 1.0)  # for the label of the threshold
    low, high, bottom = min(shown) - room, max(shown) + room, len(rows) - 0.4
    with rc_context(STYLE):
        # no axes: their machinery takes most of the time that the report of a large sweep takes
        figure = Figure(figsize=(6.4, 0.42 * (bottom + 2.1)), dpi=72)
        unit = Affine2D().translate(-low, -bottom - 1.1).scale(0.76 / (high - low), -1 / (bottom + 2.1)).translate(0.21, 0)
        to_page = unit + figure.transFigure

        def line(xs: Sequence[float], ys: Sequence[float], ink: str, **style: Any) -> None:
            figure.add_artist(Line2D(xs, ys, color=ink, transform=to_page, **style))

        def text(x: float, y: float, words: str, ink: str, ha: str, va: str) -> None:
            figure.text(x, y, words, color=ink, ha=ha, va=va, transform=to_page)

        for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high):
            if low <= tick <= high:
                line([tick, tick], [-0.5, bottom], _LINE, linewidth=0.7)
                text(tick, bottom + 0.12, f"{tick:g}".replace("-", "−"), _MUTED, "center", "top")
        line([low, high], [bottom, bottom], _LINE, linewidth=0.7)
        text((low + high) / 2, bottom + 0.62, "PSNR per example (dB)", _MUTED, "center", "top")
        line([threshold, threshold], [-0.5, bottom], _INK, linewidth=1, linestyle=(0, (4, 3)))
        text(threshold, -0.58, f"threshold {threshold:g} dB", _INK, "center", "bottom")
        for place, name in enumerate(rows):
            marker, ink = _MARKS[name]
            count = len(values[name])
            heights = place + (np.linspace(-0.24, 0.24, count) if count > 1 else np.zeros(1))
            xs, ys = zip(*((x, y) for x, y in zip(values[name], heights, strict=True) if x is not None), strict=True)
            line(xs, ys, ink, marker=marker, linestyle="none", markersize=5.5, markeredgewidth=0, alpha=0.75)
            middle = median(present(values[name]))
            line([middle, middle], [place - 0.36, place + 0.36], ink, linewidth=2)
            text(low - 0.3 * room, place, TRIALS[name][0], _INK, "right", "center")
        return for_page(figure, anchor, INKS)


def for_page(figure: Figure, anchor: str, inks: Mapping[str, str]) -> str:
    """Return a figure as SVG without prolog, page-wide style, fixed size, and ids that other drawings share.

    `inks` maps the colors of the figure to the CSS that takes their place. Call it within the style of the figure.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r'\bid="', f'id="{anchor}-', svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{anchor}-', svg)
    svg = svg.replace("url(#", f"url(#{anchor}-")
    for ink, variable in inks.items():
        svg = svg.replace(ink, variable)
    return svg.strip()
