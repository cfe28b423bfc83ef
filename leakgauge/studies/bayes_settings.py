"""What every attack of the study bayes-optimal was tuned to on training images: `python -m benchmarks tuning`."""

from __future__ import annotations

from collections.abc import Mapping

from leakgauge.studying import Level

SETTINGS: Mapping[tuple[Level, Level], Mapping[Level, tuple[float, float]]] = {
    ("color", "Gaussian"): {
        "Bayes": (2600, 0.135),
        "L2": (0.413, 0.132),
        "L1": (43.9, 0.5),
        "cosine": (0.0106, 0.143),
        "Bayes, learned density": (1.37, 0.338),
    },
    ("color", "Laplace"): {"Bayes": (2460, 0.5), "L2": (0.85, 0.19), "L1": (24.6, 0.139), "cosine": (0.00734, 0.228)},
    ("color", "pruned Gaussian"): {
        "Bayes": (2120, 0.172),
        "L2": (0.61, 0.389),
        "L1": (21.8, 0.094),
        "cosine": (0.0302, 0.05),
        "masked cosine": (0.0271, 0.5),
        "Bayes, learned density": (0.53, 0.5),
    },
    ("color", "pruned Laplace"): {
        "Bayes": (1970, 0.201),
        "L2": (0.649, 0.218),
        "L1": (35.6, 0.5),
        "cosine": (0.0153, 0.0887),
        "masked cosine": (0.0283, 0.5),
    },
    ("color", 0.003): {
        "Bayes": (4750, 0.254),
        "L2": (0.446, 0.473),
        "L1": (39.2, 0.176),
        "cosine": (0.054, 0.0954),
        "masked cosine": (0.00944, 0.254),
    },
    ("color", 0.01): {
        "Bayes": (2120, 0.172),
        "L2": (0.61, 0.389),
        "L1": (21.8, 0.094),
        "cosine": (0.0302, 0.05),
        "masked cosine": (0.0271, 0.5),
    },
    ("color", 0.03): {
        "Bayes": (1240, 0.5),
        "L2": (1.33, 0.16),
        "L1": (36, 0.26),
        "cosine": (0.0274, 0.232),
        "masked cosine": (0.0448, 0.196),
    },
    ("color", 0.1): {
        "Bayes": (523, 0.5),
        "L2": (8.46, 0.5),
        "L1": (32.4, 0.215),
        "cosine": (0.0363, 0.5),
        "masked cosine": (0.0673, 0.5),
    },
    ("digits", "Gaussian"): {"Bayes": (1680, 0.5), "L2": (0.391, 0.258), "L1": (13.1, 0.166), "cosine": (0.00509, 0.5)},
    ("digits", "Laplace"): {"Bayes": (1230, 0.139), "L2": (0.569, 0.138), "L1": (11.9, 0.163), "cosine": (0.00603, 0.5)},
    ("digits", "pruned Gaussian"): {
        "Bayes": (1440, 0.5),
        "L2": (0.311, 0.218),
        "L1": (12.4, 0.5),
        "cosine": (0.0316, 0.158),
        "masked cosine": (0.00504, 0.221),
    },
    ("digits", "pruned Laplace"): {
        "Bayes": (1420, 0.5),
        "L2": (0.419, 0.5),
        "L1": (44.8, 0.5),
        "cosine": (0.0111, 0.05),
        "masked cosine": (0.00709, 0.5),
    },
}
"""Images and noise to the weight of the prior and the learning rate of each attack."""
