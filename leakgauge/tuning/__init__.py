"""Tuning: settings of an attack that do well in rehearsals, on examples that the adversary holds anyway.

The papers tune every attack before they measure it (Balunovic et al., ICLR 2022, arXiv 2111.04706, on one batch). Here a trial is a
few rehearsals, which are audits of the same setting on public examples, and every attack has the same number of trials on the same
batches. The secret of the audit is on no side of a rehearsal.
"""

from leakgauge.tuning.goals import Goal, goal_named
from leakgauge.tuning.ranges import Choice, Range, Ranges, changed, checked, read_choice, read_range
from leakgauge.tuning.rehearsing import Held, rehearsals
from leakgauge.tuning.trying import Runner, Tried, best, here, kept, tried, tuned

__all__ = [
    "Choice",
    "Goal",
    "Held",
    "Range",
    "Ranges",
    "Runner",
    "Tried",
    "best",
    "changed",
    "checked",
    "goal_named",
    "here",
    "kept",
    "read_choice",
    "read_range",
    "rehearsals",
    "tried",
    "tuned",
]
