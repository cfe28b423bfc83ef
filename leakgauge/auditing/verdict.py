"""From scores to an answer: leaks, partial leak, no leak found by these attacks, or inconclusive, always with the reason."""

from __future__ import annotations

from collections.abc import Mapping

from leakgauge.auditing.record import ATTACK, CONTROL, TRAINED, Setting, Trial, Verdict
from leakgauge.core.statistics import wilson


def decide(trials: Mapping[str, Trial], setting: Setting, alpha: float) -> Verdict:
    """Judge the attack against chance, its floors and its positive control.

    What chance does not explain leaks, whatever else is true: wholly where examples are recovered, in part where they are not. That
    nothing leaked takes more: a search that found its optimum, an update that is the client's, a control that succeeded, and
    enough other data for a leak of any size to stand out.
    """
    if setting.learned:
        return Verdict("inconclusive", _acquainted(setting), trials[ATTACK].chance)
    told = {name: leakage(name, trials, setting, alpha) for name in (ATTACK, *((CONTROL,) if setting.is_same_update else ()))}
    found = [name for name, words in told.items() if words]
    whole = [name for name in found if recovered_examples(trials[name])]
    for name in (*whole, *found):
        return Verdict("leaks" if whole else "partial leak", _BY[name] + told[name], trials[name].chance)
    attack = trials[ATTACK]
    if attack.label_chance is not None and attack.label_chance <= alpha:
        return Verdict("partial leak", _labels(attack, setting), attack.label_chance)
    doubts = (
        _failed(attack),
        _mismatched(setting),
        _unproven(trials, setting, alpha),
        _uncontrolled(trials, setting, alpha),
        _unsearched(attack),
        _incomparable(attack, setting, alpha),
    )
    for doubt in doubts:
        if doubt:
            return Verdict("inconclusive", " ".join([doubt, *_unused(setting)]), attack.chance)
    return Verdict("no leak found by these attacks", _nothing(trials, setting), attack.chance)


def leakage(name: str, trials: Mapping[str, Trial], setting: Setting, alpha: float) -> str:
    """Say what shows that a trial gave private pictures away; empty if chance may explain all of it."""
    trial = trials.get(name)
    if trial is None or trial.chance is None or trial.chance > alpha:
        return ""
    recovered = recovered_examples(trial)
    told = [_recovered(trial, recovered, setting)] if recovered else []
    if trial.ranks is not None:
        first = sum(rank == 1 for rank in trial.ranks)
        told.append(f"{first} of {setting.examples} identified first among {setting.candidates} images")
    if not recovered:
        told.append(
            "no example recovered, but the guesses are nearer to the private pictures (in pixels, in edges, or up to brightness "
            "and contrast) than guesses without knowledge"
        )
    return f"{'; '.join(told)}. Chance alone comes as near with probability {_chance(trial.chance)}."


def _recovered(trial: Trial, rows: list[int], setting: Setting) -> str:
    """How many examples were recovered, and how: as they are, as they were trained on, or up to brightness and contrast."""
    plain, changed = _reaching("psnr", trial), _reaching("psnr" + TRAINED, trial)
    only_changed = [row for row in rows if row not in plain and row in changed]
    only_affine = [row for row in rows if row not in plain and row not in changed]
    score = "psnr" if plain else "psnr" + TRAINED if changed else "psnr_affine"
    best = max(trial.scores[score][row] or 0.0 for row in rows)
    told = [
        f"best {best:.1f} dB, at least {setting.margin:g} dB above every floor and every other image",
        *([f"{len(only_changed)} of them only as the client changed them before it trained"] if only_changed else []),
        *([f"{len(only_affine)} of them up to brightness and contrast"] if only_affine else []),
    ]
    return f"{len(rows)} of {setting.examples} examples recovered at {setting.threshold:g} dB or more ({'; '.join(told)})"


def recovered_examples(trial: Trial) -> list[int]:
    """The rows whose PSNR reaches its bar: the threshold, and a margin above every floor and every other image.

    Plain, with brightness and contrast fitted, or against what the client trained on: a person recognizes all three.
    """
    return sorted(set().union(*(_reaching(score, trial) for score in trial.bars)))


def _reaching(score: str, trial: Trial) -> set[int]:
    values, bars = trial.scores.get(score, ()), trial.bars.get(score, ())
    return {
        row
        for row, (value, bar) in enumerate(zip(values, bars, strict=False))
        if value is not None and bar is not None and value >= bar
    }


def is_unfinished(trial: Trial) -> bool:
    """Whether a search ended well above the objective at the truth: above a hundredth of the way from there to a blind guess."""
    losses = [loss for loss in trial.losses if loss is not None]
    if trial.loss_at_truth is None or not losses:
        return False
    way = abs((trial.loss_blind if trial.loss_blind is not None else trial.loss_at_truth) - trial.loss_at_truth)
    return min(losses) > trial.loss_at_truth + 0.01 * max(way, abs(trial.loss_at_truth)) + 1e-12


def _acquainted(setting: Setting) -> str:
    return (
        f"The attack's model of images has learned from {setting.learned} of the {setting.examples} private examples, or from "
        "their mirror images, so what it rebuilds may be remembered: take other examples, or a generator that never saw these."
    )


def _failed(attack: Trial) -> str:
    if attack.status == "ok":
        return ""
    return f"The attack did not end well ({attack.status}): {attack.message or 'its loss is no number'}."


def _mismatched(setting: Setting) -> str:
    told = f"The recorded update is not one that this client makes of this batch: {setting.mismatch}."
    return told if setting.mismatch else ""


def _unproven(trials: Mapping[str, Trial], setting: Setting, alpha: float) -> str:
    """What looks like a leak, but not enough to exclude chance."""
    attack, recovered = trials[ATTACK], recovered_examples(trials[ATTACK])
    told = (
        f"{len(recovered)} of {setting.examples} examples look recovered"
        if recovered
        else "The guesses come near the private pictures"
    )
    if attack.chance is None:
        remedy = "there is nothing to compare with: pass other data of the same kind, and run the floors"
        return f"{told}, but {remedy}." if recovered else ""
    least = setting.least_chance
    if not recovered and attack.chance > _NEAR * alpha:
        return ""
    remedy = "Run the audit with more seeds."
    if least is None or least > alpha:
        shown = (
            "without other data, chance"
            if least is None
            else f"a line-up of {setting.candidates}, where ranks show {_chance(least)} at best,"
        )
        remedy = f"The pool is too small: {shown} cannot be excluded. Pass more public data of the same kind."
    return f"{told}, but chance explains as much with probability {_chance(attack.chance)}, more than {alpha:g}. {remedy}"


def _uncontrolled(trials: Mapping[str, Trial], setting: Setting, alpha: float) -> str:
    if CONTROL not in trials:
        return "No positive control was run, so finding nothing says nothing. Add  positive  to the controls."
    if leakage(CONTROL, trials, setting, alpha):
        return ""
    return (
        "The positive control failed: not even the undefended update, with everything granted to the adversary, could be "
        "inverted, so finding nothing says nothing. Use a stronger attack, more steps or more restarts."
    )


def _unsearched(attack: Trial) -> str:
    if not is_unfinished(attack):
        return ""
    best = min(loss for loss in attack.losses if loss is not None)
    return (
        f"The search failed: it ended at a loss of {best:.3g}, above the {attack.loss_at_truth:.3g} at the truth, so it says "
        "nothing of what the update gives away. Use more steps or more restarts."
    )


def _incomparable(attack: Trial, setting: Setting, alpha: float) -> str:
    """A pool too small for a picture that is recognizable, but not recovered, to stand out by."""
    if attack.chance is None or setting.least_chance is None:
        return (
            "There is no other data to compare with, so nothing shows that the guesses know nothing of the private pictures. "
            "Pass public data of the same kind."
        )
    if setting.least_chance > alpha:
        kind = "the same kind and class" if "labels" in setting.granted else "the same kind"
        return (
            f"The guesses are no nearer to the private pictures than chance explains, but the pool is too small to say so: ranks "
            f"among {setting.candidates} images show {_chance(setting.least_chance)} at best, and {alpha:g} is asked for. "
            f"Pass more public data of {kind}."
        )
    return ""


def _labels(attack: Trial, setting: Setting) -> str:
    right = round((attack.label_accuracy or 0.0) * setting.examples)
    return (
        f"{right} of {setting.examples} labels, which were withheld, were restored; labels of other batches agree as well with "
        f"probability {_chance(attack.label_chance or 1.0)}. Of pictures, no more was found than chance explains."
    )


def _nothing(trials: Mapping[str, Trial], setting: Setting) -> str:
    """What was tested where nothing was found, and how much the test could have seen."""
    attack, count = trials[ATTACK], setting.examples
    found = len(recovered_examples(trials[CONTROL]))
    bars = [bar for bar in attack.bars.get("psnr", ()) if bar is not None]
    chance = "" if attack.chance is None else f" (probability {_chance(attack.chance)})"
    told = [
        f"The guesses are no nearer to the private pictures than chance explains{chance}.",
        f"The positive control recovered {found} of {count} examples of the undefended update{_often(setting, found, count)}.",
    ]
    if bars:
        told.append(f"Here an example counts as recovered from {min(bars):.1f}{f' to {max(bars):.1f}' if count > 1 else ''} dB on.")
    if setting.least_chance is not None:
        told.append(f"Ranks among {setting.candidates} images could have shown a chance of {_chance(setting.least_chance)}.")
    told.extend(_unused(setting))
    return " ".join([*told, "A stronger attack may still succeed; this is evidence, not a proof."])


def _often(setting: Setting, found: int, count: int) -> str:
    """How often that succeeds: over updates of other batches where they were tried, else over the examples of this one."""
    inverted, tried = setting.power or (found, count)
    low, high = wilson(inverted, tried)
    interval = f"95% interval {100 * low:.0f}% to {100 * high:.0f}%"
    if setting.power is None:
        return f" ({interval})"
    return f", and inverted {inverted} of {tried} such updates, of this batch and of others ({interval})"


def _unused(setting: Setting) -> list[str]:
    """What the adversary has and the attack, as far as it says, does nothing with."""
    names = ", ".join(_GRANTS.get(name, name) for name in setting.unused)
    return [f"As far as the attack says, it makes no use of {names}, which this adversary has."] if names else []


def _chance(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "below 0.0001"


_GRANTS = {
    "defense": "what is known of the defense",
    "rounds": "the earlier rounds",
    "labels": "the labels",
    "public_data": "the public data",
    "buffers": "the statistics of BatchNorm",
}
_NEAR = 5.0
"""Up to so many times the level, a chance is too small to call it nothing and too large to call it a leak."""
_BY = {ATTACK: "", CONTROL: "By the positive control, which saw the same update and needs nothing that this threat withholds: "}
