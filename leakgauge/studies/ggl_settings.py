"""What every attack of the study ggl was tuned to, defense by defense: `python -m benchmarks tuning`."""

from __future__ import annotations

from collections.abc import Mapping

from leakgauge.studying import Level

_MIDDLE: Mapping[Level, tuple[float, ...]] = {
    "DLG": (1.0,),
    "iDLG": (1.0,),
    "Inverting Gradients": (0.03, 0.1),
    "GradInversion": (0.1, 0.1),
    "GGL": (0.01, 0.1),
    "GGL, refined": (0.02, 0.1),
    "Bayes, flow": (1.0, 0.1),
}
SETTINGS: Mapping[Level, Mapping[Level, tuple[float, ...]]] = dict.fromkeys(
    ("none", "noise", "clipping", "sparsification", "Soteria"), _MIDDLE
)
