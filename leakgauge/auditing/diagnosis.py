"""Why an attack may have failed, and what it noticed: sentences beside the verdict, which they do not change."""

from __future__ import annotations

from collections.abc import Mapping

from leakgauge.auditing.record import ATTACK, LIMIT, Setting, Trial
from leakgauge.auditing.verdict import is_unfinished, recovered_examples

_NEARER = 0.1
"""By how many dB an attack has to be above what a search with the private pictures in hand found, to be told apart."""


def diagnose(trials: Mapping[str, Trial], setting: Setting) -> tuple[str, ...]:
    """Say why an attack may have failed, from its own loss against the loss at the truth, and from counting unknowns."""
    notes = []
    unknowns = setting.examples
    for side in setting.input_shape:
        unknowns *= side
    if setting.sent < unknowns:
        notes.append(
            f"The update holds {setting.sent:,} numbers for {unknowns:,} unknown pixels: it cannot determine them without a prior."
        )
    attack = trials[ATTACK]
    if attack.status == "ok" and attack.message:
        notes.append(attack.message)
    notes.extend(_read_off(attack))
    notes.extend(_limited(trials, setting))
    losses = [loss for loss in attack.losses if loss is not None]
    if attack.loss_at_truth is None or not losses or recovered_examples(attack):
        return tuple(notes)
    best, truth = min(losses), attack.loss_at_truth
    if is_unfinished(attack):
        notes.append(
            f"The search ended at a loss of {best:.3g}, above the {truth:.3g} at the truth: more steps or restarts may find it."
        )
    else:
        notes.append(
            f"The search reached a loss of {best:.3g}, no higher than the {truth:.3g} at the truth: the objective itself does not "
            "single out the private data (a defense, a wrong replay, or too strong a prior)."
        )
    return tuple(notes)


def _read_off(attack: Trial) -> list[str]:
    """What the attack read off the update, beside what it is."""
    return [
        f"From the update alone, the attack estimated {name} at {found:.3g}; it is {own:.3g}."
        for name, (found, own) in attack.estimates.items()
        if found is not None and own is not None
    ] + [
        f"What the attack takes {name} to be, which the client kept, is {off:.0%} of its norm away from what it is."
        for name, off in attack.uncovered.items()
        if off is not None
    ]


def _limited(trials: Mapping[str, Trial], setting: Setting) -> list[str]:
    """How near the attack could have come, and how near it comes to what it can make."""
    if LIMIT not in trials:
        return []
    found, best = ([value for value in trials[kind].scores.get("psnr", ()) if value is not None] for kind in (ATTACK, LIMIT))
    own = [value for value in setting.sampled if value is not None]
    told = []
    if best:
        told.append(
            f"Of what the attack can make, the nearest to the private pictures that a search finds has {max(best):.1f} dB at best."
            + (" The attack came nearer than that search." if found and max(found) > max(best) + _NEARER else "")
        )
    if own:
        told.append(f"Pictures that it can make, it rebuilds from their undefended update at {max(own):.1f} dB at best.")
    return told
