"""Improved Deep Leakage from Gradients (Zhao, Mopuri, Bilen 2020, arXiv 2001.02610)."""

from __future__ import annotations

from leakgauge.attacks.dlg import dlg
from leakgauge.attacks.labels.idlg import IDLG
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Replay, Search


def idlg(
    replay: Replay = Granted(),
    search: Search = LBFGS(),
    restarts: Count = 4,
    enough: NonNegative = 1e-7,
) -> Matching:
    """DLG with the label read off the last layer first, so that only the image is searched."""
    return dlg(labels=IDLG(), replay=replay, search=search, restarts=restarts, enough=enough)
