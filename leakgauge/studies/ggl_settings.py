"""What every attack of the study ggl was tuned to, defense by defense: `python -m benchmarks tuning`."""

from __future__ import annotations

from collections.abc import Mapping

from leakgauge.studying import Level

_MIDDLE: Mapping[Level, tuple[float, ...]] = {
    "DLG": (1.0,),
    "iDLG": (1.0,),
    "Inverting Gradients": (0.01, 0.1),
    "GradInversion": (0.1, 0.1),
    "GGL": (0.1, 0.5),
    "GGL, refined": (0.1, 0.05),
    "Bayes, flow": (10.0, 0.3),
}
"""Where nothing has been tuned yet: about the middle of the ranges, or the papers' settings."""
SETTINGS: Mapping[Level, Mapping[Level, tuple[float, ...]]] = {
    "none": {
        "DLG": (1.39,),
        "iDLG": (0.552,),
        "Inverting Gradients": (0.00155, 0.0738),
        "GradInversion": (0.0903, 0.517),
        "GGL": (0.166, 1.04),
        "GGL, refined": (10.0, 0.0336),
        "Bayes, flow": (9.88, 0.869),
    },
    "noise": {
        "DLG": (0.01,),
        "iDLG": (0.001,),
        "Inverting Gradients": (100.0, 2.0),
        "GradInversion": (18.5, 3.57),
        "GGL": (29.4, 0.28),
        "GGL, refined": (21.0, 0.000241),
        "Bayes, flow": (0.182, 0.786),
    },
    "clipping": {
        "DLG": (0.467,),
        "iDLG": (0.389,),
        "Inverting Gradients": (0.00325, 0.0814),
        "GradInversion": (0.239, 0.647),
        "GGL": (1.9, 0.948),
        "GGL, refined": (190.0, 0.166),
        "Bayes, flow": (9.88, 0.869),
    },
    "sparsification": {
        "DLG": (0.423,),
        "iDLG": (0.677,),
        "Inverting Gradients": (0.203, 0.383),
        "GradInversion": (0.685, 0.481),
        "GGL": (16.7, 0.955),
        "GGL, refined": (5.49, 0.0552),
        "Bayes, flow": (9.66, 0.481),
    },
    "Soteria": {
        "DLG": (0.112,),
        "iDLG": (0.181,),
        "Inverting Gradients": (0.101, 0.109),
        "GradInversion": (0.62, 2.0),
        "GGL": (0.0966, 0.481),
        "GGL, refined": (10.0, 0.0275),
        "Bayes, flow": (61.3, 0.222),
    },
}
UNTUNED = tuple(
    f"{attack} under {defense}"
    for defense, found in SETTINGS.items()
    for attack, settings in found.items()
    if settings is _MIDDLE[attack]
)
"""What is not tuned, as a study has to say."""

OBJECTIVES: Mapping[Level, Mapping[Level, Mapping[Level, tuple[float, float]]]] = {
    "noise": {
        "D1, squared distance": {
            "none": (0.0, 0.03),
            "R1, latent KL": (10.0, 0.214),
            "R2, norm": (2.4e-05, 2.0),
            "density": (0.0511, 0.187),
        },
        "D2, cosine": {
            "none": (0.0, 0.03),
            "R1, latent KL": (1.54, 0.762),
            "R2, norm": (1e-06, 0.245),
            "density": (3e-05, 0.257),
        },
    },
    "Soteria": {
        "D1, squared distance": {
            "none": (0.0, 0.432),
            "R1, latent KL": (0.0966, 0.481),
            "R2, norm": (1.9e-05, 0.948),
            "density": (9.73e-05, 2.0),
        },
        "D2, cosine": {
            "none": (0.0, 0.576),
            "R1, latent KL": (0.00905, 0.47),
            "R2, norm": (9.66e-07, 0.481),
            "density": (3e-05, 0.692),
        },
    },
}
"""What GGL with each distance and each regularizer was tuned to, for the study ggl-ablation."""
