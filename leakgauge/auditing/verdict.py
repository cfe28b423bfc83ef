"""From scores to an answer: leaks, no leak found by these attacks, or inconclusive, always with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, TRAINED, Setting, Trial, Verdict
from leakgauge.core.statistics import identification_p_value

_TRUTHS = ("psnr", "psnr" + TRAINED)


def decide(trials: Mapping[str, Trial], setting: Setting, alpha: float) -> Verdict:
    """Judge the attack against its controls.

    Whatever leaks, leaks; that nothing leaked counts only if the attack worked and its positive control leaked.
    """
    evidence = leakage(ATTACK, trials, setting, alpha)
    if evidence:
        return Verdict("leaks", evidence)
    attack = trials[ATTACK]
    if attack.status != "ok":
        return Verdict(
            "inconclusive", f"The attack did not end well ({attack.status}): {attack.message or 'its loss is no number'}."
        )
    if CONTROL not in trials:
        return Verdict(
            "inconclusive", "No positive control was run, so finding nothing says nothing. Add  positive  to the controls."
        )
    if not leakage(CONTROL, trials, setting, alpha):
        return Verdict(
            "inconclusive",
            "The positive control failed: not even the undefended update, with everything granted to the adversary, could be "
            "inverted, so finding nothing says nothing. Use a stronger attack, more steps or more restarts.",
        )
    return Verdict(
        "no leak found by these attacks",
        "The attack stayed at its floor, while the same attack inverted the undefended update. "
        "A stronger attack may still succeed; this is evidence, not a proof.",
    )


def leakage(name: str, trials: Mapping[str, Trial], setting: Setting, alpha: float) -> str:
    """Say what shows that a trial gave private data away; empty if nothing does."""
    found = []
    recovered = recovered_examples(name, trials, setting)
    if recovered:
        scores = trials[name].scores
        best = max(scores[truth][row] or -inf for truth in _TRUTHS if truth in scores for row in recovered)
        is_compared = FLOOR in trials or BLIND in trials
        above = f", at least {setting.margin:g} dB above the floor" if is_compared else "; no floor was run to compare with"
        changed = len(set(recovered) - _reaching("psnr", name, trials, setting))
        told = f"; {changed} of them only as the client changed them before it trained" if changed else ""
        found.append(
            f"{len(recovered)} of {setting.examples} examples recovered at {setting.threshold:g} dB or more "
            f"(best {best:.1f} dB{above}{told})"
        )
    if is_identified(name, trials, setting, alpha) and not is_identified(FLOOR, trials, setting, alpha):
        first = sum(rank == 1 for rank in trials[name].ranks or ())
        found.append(f"{first} of {setting.examples} identified first among {setting.candidates} images")
    return "; ".join(found) and f"{'; '.join(found)}."


def recovered_examples(name: str, trials: Mapping[str, Trial], setting: Setting) -> list[int]:
    """The rows whose PSNR reaches the threshold and exceeds that of every floor by the margin.

    It is enough that it does so against what the client trained on: a person sees a face in a rotated image, too.
    """
    return sorted(set().union(*(_reaching(truth, name, trials, setting) for truth in _TRUTHS)))


def _reaching(score: str, name: str, trials: Mapping[str, Trial], setting: Setting) -> set[int]:
    rows = set()
    for row, value in enumerate(trials[name].scores.get(score, ())):
        floors = [trials[floor].scores[score][row] for floor in (FLOOR, BLIND) if floor in trials and score in trials[floor].scores]
        floor = max((found for found in floors if found is not None), default=-inf)
        if value is not None and value >= max(setting.threshold, floor + setting.margin):
            rows.add(row)
    return rows


def is_identified(name: str, trials: Mapping[str, Trial], setting: Setting, alpha: float) -> bool:
    """Whether chance explains the number of truths that rank first with probability below alpha."""
    trial = trials.get(name)
    if trial is None or not trial.ranks or setting.candidates is None:
        return False
    return identification_p_value(trial.ranks, setting.candidates) <= alpha


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
    losses = [loss for loss in attack.losses if loss is not None]
    if attack.loss_at_truth is None or not losses or recovered_examples(ATTACK, trials, setting):
        return tuple(notes)
    best, truth = min(losses), attack.loss_at_truth
    if best > truth + 0.01 * abs(truth) + 1e-9:
        notes.append(
            f"The search ended at a loss of {best:.3g}, above the {truth:.3g} at the truth: more steps or restarts may find it."
        )
    else:
        notes.append(
            f"The search reached a loss of {best:.3g}, no higher than the {truth:.3g} at the truth: the objective itself does not "
            "single out the private data (a defense, a wrong replay, or too strong a prior)."
        )
    return tuple(notes)
