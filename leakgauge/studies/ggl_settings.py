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
"""Where nothing has been tuned yet: the middle of the ranges, or the papers' settings."""
SETTINGS: Mapping[Level, Mapping[Level, tuple[float, ...]]] = {
    "none": {
        "DLG": (1.31,),
        "iDLG": (0.552,),
        "Inverting Gradients": (0.1, 0.148),
        "GradInversion": (0.05, 0.5),
        "GGL": (0.0043, 0.393),
        "GGL, refined": (0.00983, 0.133),
        "Bayes, flow": (0.0507, 0.5),
    },
    "noise": {
        **_MIDDLE,
        "DLG": (0.0329,),
        "iDLG": (0.03,),
        "Inverting Gradients": (0.0556, 0.281),
        "GradInversion": (18.1, 0.5),
    },
    "clipping": _MIDDLE,
    "sparsification": _MIDDLE,
    "Soteria": _MIDDLE,
}
UNTUNED = tuple(
    f"{attack} under {defense}"
    for defense, found in SETTINGS.items()
    for attack, settings in found.items()
    if settings is _MIDDLE[attack]
)
"""What is not tuned, as a study has to say."""

OBJECTIVES: Mapping[Level, Mapping[Level, Mapping[Level, tuple[float, float]]]] = {
    defense: {
        distance: {"none": (0.0, 0.1), "R1, latent KL": (0.1, 0.1), "R2, norm": (1e-5, 0.1), "density": (0.003, 0.1)}
        for distance in ("D1, squared distance", "D2, cosine")
    }
    for defense in ("noise", "Soteria")
}
"""What GGL with each distance and each regularizer was tuned to, for the study ggl-ablation."""
