"""What an audit is given: whose update and whose secret, what is run, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

from leakgauge.auditing.rounds import Rounds
from leakgauge.core.algorithm import Count, NonNegative, Positive, Share, algorithm
from leakgauge.core.protocols import Attack, Client, Defense, Metric
from leakgauge.core.types import Batch, Model, ThreatModel, Update

Control = Literal["floor", "blind", "positive", "limit"]
CONTROLS: frozenset[Control] = frozenset({"floor", "blind", "positive", "limit"})
"""What is run beside an attack, so that its score means something."""


@final
@algorithm
class Criteria:
    """When a score counts as leakage: fixed before the attack, the same for every attack.

    An example is recovered if its PSNR, plain or with brightness and contrast fitted, reaches `threshold` (dB) and exceeds by
    `margin` (dB) that of every floor and of every other image. Whether the guesses know the secret at all is a test at level
    `alpha`: how near they come to it, against up to `candidates` - 1 other images. `power` is on how many undefended updates the
    positive control is tried, the secret's among them: how often it succeeds is what "no leak" is worth.
    """

    threshold: Positive = 20.0
    margin: NonNegative = 3.0
    candidates: Count = 1000
    alpha: Share = 0.01
    power: Count = 1


@final
@dataclass(frozen=True, kw_only=True)
class Scene:
    """The model, the secret, and other data of its kind (None: no floor from other data, no identification).

    `update` is what was really sent, where it was recorded: it is what the attack sees, while floor and controls are those of the
    plan's client.
    """

    model: Model
    secret: Batch
    public: Batch | None = None
    class_names: tuple[str, ...] = ()
    update: Update | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who sends, who attacks, and how it is judged.

    `control` None means the attack itself with everything granted; `controls` says which trials are run beside the attack.
    """

    client: Client
    defenses: tuple[Defense, ...] = ()
    rounds: Rounds = Rounds()
    threat: ThreatModel
    attack: Attack
    control: Attack | None = None
    controls: frozenset[Control] = CONTROLS
    blind: Attack
    metrics: Mapping[str, Metric]
    criteria: Criteria = Criteria()
    seed: int = 0
