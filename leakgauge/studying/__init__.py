"""Studies: a question, the audits that answer it, and the claims that their results must bear out."""

from leakgauge.studying.blocks import Block, Changes, Level, levels, nothing
from leakgauge.studying.cases import Case, Course
from leakgauge.studying.concluding import conclude
from leakgauge.studying.document import Claim, Study, View, cases, trainings
from leakgauge.studying.findings import Cell, Findings, Judgment, Ruling, Series, Table
from leakgauge.studying.results import Results
from leakgauge.studying.samples import IDENTIFIED, LeftOut, Sample, Unsettled
from leakgauge.studying.statistic import Statistic
from leakgauge.studying.trainings import ACCURACIES, ROUND, Trainings

__all__ = [
    "ACCURACIES",
    "Block",
    "Case",
    "Cell",
    "Changes",
    "Claim",
    "Course",
    "Findings",
    "IDENTIFIED",
    "Judgment",
    "LeftOut",
    "Level",
    "ROUND",
    "Results",
    "Ruling",
    "Sample",
    "Series",
    "Statistic",
    "Study",
    "Table",
    "Trainings",
    "Unsettled",
    "View",
    "cases",
    "conclude",
    "levels",
    "nothing",
    "trainings",
]
