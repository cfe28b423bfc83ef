"""What every attack of the study ggl was tuned to, defense by defense: `python -m benchmarks tuning`."""

from __future__ import annotations

from collections.abc import Mapping

from leakgauge.studying import Level

_MIDDLE: Mapping[Level, tuple[float, ...]] = {
    "DLG": (1.0,),
    "iDLG": (1.0,),
    "Inverting Gradients": (0.01, 0.1),
    "GradInversion": (0.1, 0.1),
    "GGL": (0.003, 0.15),
    "GGL, refined": (0.003, 0.02),
    "Bayes, flow": (10.0, 0.3),
}
"""Where nothing has been tuned yet: about the middle of the ranges, or the papers' settings."""
SETTINGS: Mapping[Level, Mapping[Level, tuple[float, ...]]] = {
    "none": {
        "DLG": (1.39,),
        "iDLG": (0.552,),
        "Inverting Gradients": (0.00155, 0.0738),
        "GradInversion": (0.0903, 0.517),
        "GGL": (0.000441, 1.0),
        "GGL, refined": (0.0194, 0.1),
        "Bayes, flow": (9.88, 0.869),
    },
    "noise": {
        "DLG": (0.01,),
        "iDLG": (0.001,),
        "Inverting Gradients": (100.0, 2.0),
        "GradInversion": (18.5, 3.57),
        "GGL": (0.0253, 0.21),
        "GGL, refined": (0.00553, 0.001),
        "Bayes, flow": (0.182, 0.786),
    },
    "clipping": {
        "DLG": (0.467,),
        "iDLG": (0.389,),
        "Inverting Gradients": (0.00325, 0.0814),
        "GradInversion": (0.239, 0.647),
        "GGL": (0.000441, 1.0),
        "GGL, refined": (0.00316, 0.0709),
        "Bayes, flow": (9.88, 0.869),
    },
    "sparsification": {
        **_MIDDLE,
        "DLG": (0.423,),
        "iDLG": (0.677,),
        "Inverting Gradients": (0.203, 0.383),
        "GradInversion": (0.685, 0.481),
        "GGL": (0.000441, 1.0),
        "GGL, refined": (0.0194, 0.1),
    },
    "Soteria": {
        **_MIDDLE,
        "DLG": (0.112,),
        "iDLG": (0.181,),
        "GGL": (9.59e-05, 0.918),
        "GGL, refined": (0.000569, 0.0228),
    },
}
UNTUNED = tuple(
    f"{attack} under {defense}"
    for defense, found in SETTINGS.items()
    for attack, settings in found.items()
    if settings is _MIDDLE[attack]
)
"""What is not tuned, as a study has to say."""

_START: Mapping[Level, tuple[float, float]] = {
    "none": (0.0, 0.1),
    "R1, latent KL": (0.1, 0.1),
    "R2, norm": (1e-5, 0.1),
    "density": (0.003, 0.1),
}
OBJECTIVES: Mapping[Level, Mapping[Level, Mapping[Level, tuple[float, float]]]] = {
    defense: dict.fromkeys(("D1, squared distance", "D2, cosine"), _START) for defense in ("noise", "Soteria")
}
"""What GGL with each distance and each regularizer was tuned to, for the study ggl-ablation."""
UNTUNED_OBJECTIVES = tuple(
    f"{distance}, {regularizer} under {defense}"
    for defense, distances in OBJECTIVES.items()
    for distance, regularizers in distances.items()
    for regularizer, settings in regularizers.items()
    if settings is _START[regularizer]
)
"""What of it is not tuned."""
