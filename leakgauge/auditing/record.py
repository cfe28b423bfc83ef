"""What an audit leaves behind: plain values that JSON holds, readable without torch and without any plugin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, final

SCHEMA_VERSION: Literal[1] = 1

Outcome = Literal["leaks", "partial leak", "no leak found by these attacks", "inconclusive", "not judged"]
"""The last one is of an update whose private examples are not there to judge by."""
Ending = Literal["ok", "diverged", "out_of_scope", "failed", "timed_out"]
Numbers = tuple[float | None, ...]
"""One number per example; None where there is none (not matched, not finite)."""


@final
@dataclass(frozen=True)
class Verdict:
    """The answer, and the sentence that says why.

    `p_value` is the chance of evidence as strong as this without a leak; None where nothing was tested.
    """

    outcome: Outcome
    reason: str
    p_value: float | None = None


@final
@dataclass(frozen=True)
class Trial:
    """One attack on one update, judged against the secret batch."""

    attack: str  # how the attack describes itself
    status: Ending
    seconds: float
    message: str = ""
    scores: dict[str, Numbers] = field(default_factory=dict)  # metric -> [n]
    ranks: tuple[int, ...] | None = None  # [n], of each secret in the line-up, 1 is best
    chance: float | None = None  # that guesses without knowledge come as near; None where there was nothing to compare with
    bars: dict[str, Numbers] = field(default_factory=dict)  # metric -> [n], what a score must reach to count as recovered
    rivals: dict[str, Numbers] = field(default_factory=dict)
    """Metric -> [n], the best score of a floor, another image of the line-up, or a guess without structure."""
    label_chance: float | None = None  # that labels of other batches of the pool agree as well; None where they were granted
    label_accuracy: float | None = None
    losses: Numbers = ()  # [restarts], the attack's own
    loss_at_truth: float | None = None  # the attack's objective at the secret, computed after all trials
    loss_blind: float | None = None  # the same objective at the blind guess
    estimates: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Settings of the defense, as Clipping.norm, that the attack read off the update, and what they are."""
    uncovered: dict[str, float | None] = field(default_factory=dict)
    """What the client kept, as KeyLock.gamma: how far off the attack takes it to be, as a share of its norm."""


@final
@dataclass(frozen=True)
class Setting:
    """Under what conditions the scores were reached."""

    threat: str
    granted: tuple[str, ...]
    withheld: tuple[str, ...]
    examples: int
    input_shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...]  # of the secret examples, in order; as they were restored where these are not there
    parameters: int  # numbers in the model
    sent: int  # numbers in the update, of all rounds together
    client: str
    defenses: tuple[str, ...]
    candidates: int | None  # images among which the truth is looked for, the truth included
    threshold: float  # dB
    margin: float  # dB above the floor
    alpha: float = 0.01  # the chance up to which evidence counts
    rounds: int = 1  # in which the batch was seen
    least_chance: float | None = None  # the smallest that ranks in the line-up can show
    is_same_update: bool = False  # whether the positive control saw the update that the attack saw, and needed no more grants
    mismatch: str = ""  # why the recorded update is not one that this client makes of this batch; empty if it may be
    power: tuple[int, int] | None = None  # how many undefended updates the control inverted, of how many; None: no more were tried
    unused: tuple[str, ...] = ()  # what the adversary has and the attack, as far as it says, makes no use of
    learned: int = 0  # private examples that the attack's own model of images has learned from
    model: str = ""  # fingerprint of the weights before the update
    update: str = ""  # fingerprint of what was sent
    sampled: Numbers = ()  # dB, of the attack on the undefended update of pictures that it can make, where it cannot make every one


@final
@dataclass(frozen=True)
class Record:
    """One audit, whole. `trials` holds "attack" and the controls "floor", "blind", "positive control" and "limit"."""

    key: str
    name: str
    seed: int
    status: Ending
    verdict: Verdict
    setting: Setting | None
    trials: dict[str, Trial]
    seconds: float
    spec: dict[str, Any]  # canonical, reproduces the audit; empty for an audit of live objects
    environment: dict[str, str]
    diagnosis: tuple[str, ...] = ()
    error: str | None = None  # a traceback, where status is failed
    schema_version: Literal[1] = SCHEMA_VERSION


TRAINED = "_trained"
"""What the names of scores end in that are against what the client trained on, where a defense changed the examples before."""

ATTACK, FLOOR, BLIND, CONTROL, LIMIT = "attack", "floor", "blind", "positive control", "limit"
"""The names of the trials: the audited attack; the same one on an update of other data; a guess without any update; the
strongest setting of the attack on the undefended client; the nearest to the secret that the attack can make, found with the
secret in hand, where it cannot make every picture."""
