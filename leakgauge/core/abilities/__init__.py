"""What an algorithm may be able to do beside its verb: optional protocols, asked for by `isinstance`."""

from leakgauge.core.abilities.attacks import ROUNDS, Diagnosable, Informable, Learned, Limited, Needing, Using, inmost, used_by
from leakgauge.core.abilities.clients import (
    Accountable,
    Averaging,
    GradientDefense,
    Keeping,
    LocalTraining,
    Owning,
    Trains,
    exchange_gradient,
)
from leakgauge.core.abilities.parts import Adjustable, Batched, Believed, Believing, Bound, Estimating, Fixed, Implying, Uncovering
from leakgauge.core.abilities.spaces import Conditional, Deepening, Generative, conditioned

__all__ = [
    "Accountable",
    "Adjustable",
    "Averaging",
    "Batched",
    "Believed",
    "Believing",
    "Bound",
    "Conditional",
    "Deepening",
    "Diagnosable",
    "Estimating",
    "Fixed",
    "Generative",
    "GradientDefense",
    "Implying",
    "Informable",
    "Keeping",
    "Learned",
    "Limited",
    "LocalTraining",
    "Needing",
    "Owning",
    "ROUNDS",
    "Trains",
    "Uncovering",
    "Using",
    "conditioned",
    "exchange_gradient",
    "inmost",
    "used_by",
]
