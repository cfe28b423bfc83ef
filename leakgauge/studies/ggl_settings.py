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
        **_MIDDLE,
        "DLG": (1.39,),
        "iDLG": (0.552,),
        "Inverting Gradients": (0.00155, 0.0738),
        "GradInversion": (0.0903, 0.517),
    },
    "noise": _MIDDLE,
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
