"""The chart of a view: a line per series with its intervals, over a numeric axis or over names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, cycle
from math import log10

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from leakgauge.report.chart import INKS, STYLE, for_page
from leakgauge.report.numbers import share
from leakgauge.report.words import METRICS
from leakgauge.studying import Table

_INK, _LINE, _MUTED, _ = INKS
_SERIES = {f"#01021{place}": f"var(--series-{place + 1})" for place in range(6)}
_MARKS = "osD^vPX"  # one more than there are colors, so that lines stay apart when colors come again


def curves(table: Table, anchor: str) -> str:
    """Draw a view as SVG whose colors are CSS variables; empty where nothing has run."""
    view = table.view
    is_numeric = all(not isinstance(level, str) for level in table.levels)
    places = [float(level) if is_numeric else place for place, level in enumerate(table.levels)]
    drawn = [series for series in table.series if any(cell.statistic for cell in series.cells)]
    if not drawn:
        return ""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4), dpi=72, layout="constrained")
        axes = figure.add_subplot()
        for beside, series, ink, mark in zip(count(), drawn, cycle(_SERIES), cycle(_MARKS)):
            shifted = _beside(places, (beside - (len(drawn) - 1) / 2) / 80, is_log=is_numeric and view.log_x)
            points = [(x, cell.statistic) for x, cell in zip(shifted, series.cells, strict=True) if cell.statistic]
            low = [one.value - one.interval[0] if one.interval else 0.0 for _, one in points]
            high = [one.interval[1] - one.value if one.interval else 0.0 for _, one in points]
            axes.errorbar(
                [x for x, _ in points],
                [one.value for _, one in points],
                yerr=(low, high),
                color=ink,
                marker=mark,
                markersize=5.5,
                linewidth=1.6 if is_numeric else 0,
                elinewidth=1.0,
                capsize=3.0,
                label=series.label,
            )
        if is_numeric and view.log_x:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(places, [level if isinstance(level, str) else f"{level:g}" for level in table.levels])
        if view.is_share:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
            axes.set_ylim(-0.04, 1.04)
        axes.set_xlabel(view.x, color=_MUTED)
        axes.set_ylabel(_axis(table), color=_MUTED)
        axes.tick_params(colors=_MUTED, length=0)
        axes.grid(color=_LINE, linewidth=0.7)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        if len(drawn) > 1 or view.by is not None:
            legend = axes.legend(title=view.by, frameon=False, labelcolor=_INK, loc="upper left", bbox_to_anchor=(1.0, 1.0))
            legend.get_title().set_color(_MUTED)
        return for_page(figure, anchor, {**INKS, **_SERIES})


def _beside(places: Sequence[float], share: float, *, is_log: bool) -> list[float]:
    """The places, moved by a share of the axis, so that the intervals of several lines do not hide each other."""
    if is_log:
        return [10**place for place in _beside([log10(place) for place in places], share, is_log=False)]
    reach = max(places) - min(places) or 1.0
    return [place + share * reach for place in places]


def _axis(table: Table) -> str:
    view = table.view
    label, unit, _ = METRICS.get(view.score, (view.score.replace("_", " "), "", ""))
    if view.statistic == "share":
        return f"share with {label} ≥ {view.threshold:g} {unit}".strip()
    return f"{view.statistic} {label} ({unit})" if unit else f"{view.statistic} {label}"
