"""Studies: a question, the audits that answer it, and the claims that their results must bear out."""

from leakgauge.studying.blocks import Block, Changes, Level, levels, nothing
from leakgauge.studying.cases import Case
from leakgauge.studying.document import Claim, Study, View, cases
from leakgauge.studying.findings import Cell, Findings, Judgment, Ruling, Series, Table, conclude
from leakgauge.studying.results import IDENTIFIED, LeftOut, Results, Sample, Statistic, Unsettled

__all__ = [
    "Block",
    "Case",
    "Cell",
    "Changes",
    "Claim",
    "Findings",
    "IDENTIFIED",
    "Judgment",
    "LeftOut",
    "Level",
    "Results",
    "Ruling",
    "Sample",
    "Series",
    "Statistic",
    "Study",
    "Table",
    "Unsettled",
    "View",
    "cases",
    "conclude",
    "levels",
    "nothing",
]
