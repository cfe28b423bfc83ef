"""Whole audits, small ones: verdicts and their reasons, controls, and the chance that all attacks share."""

import math
import re
from dataclasses import replace

import pytest
import torch
from samples import SETTING, trial
from table import FLAT

from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.dlg import dlg
from leakgauge.attacks.floors import MeanImage
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.auditing.diagnosis import diagnose
from leakgauge.auditing.pipeline import run
from leakgauge.auditing.plan import Criteria, Plan, Scene
from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR
from leakgauge.auditing.rounds import Rounds
from leakgauge.auditing.verdict import decide, leakage, recovered_examples
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.capabilities import ADAPTIVE, INFORMED, SERVER
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Reconstruction, Status
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.ats import ATS
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.defenses.pruning import Pruning
from leakgauge.metrics.psnr import PSNR
from leakgauge.spec import parse, prepare
from leakgauge.testing import check_secrecy
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP

# Verdicts of trials made by hand

SOUND = {
    ATTACK: trial(),
    FLOOR: trial((9.0, 9.5), (50, 60), chance=0.5),
    BLIND: trial((11.0, 10.0), (70, 60), chance=0.6),
    CONTROL: trial((40.0, 41.0), (1, 1)),
}
ALPHA = 0.01


def with_scores(psnr, ranks=(50, 60), chance=0.4, **changes):
    return {**SOUND, ATTACK: trial(psnr, ranks, chance=chance, **changes)}


@pytest.mark.parametrize(
    ("psnr", "bars", "rows"),
    [
        ((20.0, 19.99), (20.0, 20.0), [0]),
        ((25.0, 25.0), (25.0, 25.1), [0]),
        ((25.0, 25.0), (20.0, 20.0), [0, 1]),
        ((None, 25.0), (20.0, 20.0), [1]),
        ((99.0, 99.0), (None, 20.0), [1]),
        ((99.0, 99.0), (), []),
    ],
)
def test_an_example_is_recovered_at_its_bar(psnr, bars, rows):
    assert recovered_examples(with_scores(psnr, bars={"psnr": bars})[ATTACK]) == rows


@pytest.mark.parametrize("also", ["psnr_affine", "psnr_trained"])
def test_an_example_is_recovered_as_it_was_or_up_to_contrast_or_as_the_client_trained_on_it(also):
    made = trial((30.0, 9.0))
    made = replace(made, scores={**made.scores, also: (24.0, 26.0)}, bars={**made.bars, also: (20.0, 20.0)})
    trials = {**SOUND, ATTACK: made}
    assert recovered_examples(trials[ATTACK]) == [0, 1]
    told = leakage(ATTACK, trials, SETTING, ALPHA)
    assert "2 of 2 examples recovered at 20 dB or more (best 30.0 dB, at least 3 dB above every floor and every other image" in told
    how = {"psnr_affine": "up to brightness and contrast", "psnr_trained": "only as the client changed them before it trained"}
    assert f"1 of them {how[also]}" in told


@pytest.mark.parametrize(
    ("psnr", "chance", "outcome"),
    [
        ((30.0, 12.0), 0.01, "leaks"),
        ((19.0, 12.0), 0.01, "partial leak"),
        ((30.0, 12.0), 0.011, "inconclusive"),  # looks recovered, and chance explains it too often
        ((19.0, 12.0), 0.05, "inconclusive"),
        ((19.0, 12.0), 0.051, "no leak found by these attacks"),
        ((30.0, 12.0), None, "inconclusive"),
        ((19.0, 12.0), None, "inconclusive"),  # nothing to compare with
    ],
)
def test_what_chance_explains_is_no_leak_and_what_it_does_not_is_never_none(psnr, chance, outcome):
    verdict = decide(with_scores(psnr, chance=chance), SETTING, ALPHA)
    assert verdict.outcome == outcome
    assert verdict.p_value == chance


@pytest.mark.parametrize(
    ("granted", "chance", "least", "told"),
    [
        ((), 0.9, 0.08, "ranks among 5 images show 0.08 at best, and 0.01 is asked for. Pass more public data of the same kind."),
        (("labels",), 0.9, 0.08, "Pass more public data of the same kind and class."),
        ((), 0.04, 0.04, "The pool is too small: a line-up of 5, where ranks show 0.04 at best, cannot be excluded."),
        ((), 0.9, None, "There is no other data to compare with"),
        ((), None, 0.001, "There is no other data to compare with"),
    ],
)
def test_no_leak_is_never_said_beside_a_pool_that_could_not_have_shown_one(granted, chance, least, told):
    setting = replace(SETTING, least_chance=least, candidates=5, granted=granted)
    verdict = decide(with_scores((5.0, 5.0), chance=chance), setting, ALPHA)
    assert verdict.outcome == "inconclusive"
    assert told in verdict.reason


def test_the_evidence_is_said():
    verdict = decide(with_scores((30.0, 12.0), (1, 1), 0.0002), SETTING, ALPHA)
    assert verdict.outcome == "leaks"
    assert verdict.reason == (
        "1 of 2 examples recovered at 20 dB or more (best 30.0 dB, at least 3 dB above every floor and every other image); "
        "2 of 2 identified first among 100 images. Chance alone comes as near with probability 0.0002."
    )


@pytest.mark.parametrize("chance", [0.4, 0.02])
def test_what_an_attack_leaves_unused_stands_in_a_verdict_that_finds_nothing(chance):
    setting = replace(SETTING, unused=("defense", "rounds"))
    told = (
        "As far as the attack says, it makes no use of what is known of the defense, the earlier rounds, which this adversary has."
    )
    assert told in decide(with_scores((5.0, 5.0), chance=chance), setting, ALPHA).reason
    assert "makes no use" not in decide(with_scores((5.0, 5.0), chance=chance), SETTING, ALPHA).reason
    assert "makes no use" not in decide(with_scores((30.0, 5.0), chance=0.001), setting, ALPHA).reason


def test_labels_that_were_withheld_and_restored_are_a_leak_of_labels():
    restored = with_scores((5.0, 5.0), label_accuracy=1.0, label_chance=0.004)
    verdict = decide(restored, SETTING, ALPHA)
    assert (verdict.outcome, verdict.p_value) == ("partial leak", 0.004)
    assert verdict.reason.startswith("2 of 2 labels, which were withheld, were restored")
    assert decide(with_scores((5.0, 5.0), label_accuracy=1.0, label_chance=0.02), SETTING, ALPHA).outcome != "partial leak"


def test_what_the_control_finds_in_the_same_update_is_a_leak_of_it():
    trials = with_scores((5.0, 5.0))
    verdict = decide(trials, replace(SETTING, is_same_update=True), ALPHA)
    assert verdict.outcome == "leaks"
    assert verdict.reason.startswith("By the positive control, which saw the same update")
    assert decide(trials, SETTING, ALPHA).outcome == "no leak found by these attacks"
    partly = {**with_scores((5.0, 5.0), chance=0.002), CONTROL: SOUND[CONTROL]}
    assert decide(partly, replace(SETTING, is_same_update=True), ALPHA).outcome == "leaks"


def test_a_recorded_update_of_something_else_says_nothing_unless_it_leaks():
    foreign = replace(SETTING, mismatch="it is 65536 times as long")
    verdict = decide(with_scores((5.0, 5.0)), foreign, ALPHA)
    assert verdict.outcome == "inconclusive"
    assert "it is 65536 times as long" in verdict.reason
    assert decide(SOUND, foreign, ALPHA).outcome == "leaks"


@pytest.mark.parametrize(
    ("losses", "truth", "blind", "is_failed"),
    [
        ((0.5, 0.9), 0.0, 1.0, True),
        ((0.009,), 0.0, 1.0, False),  # within a hundredth of the way from the truth to a blind guess
        ((0.011,), 0.0, 1.0, True),
        ((-1.0,), 0.0, 1.0, False),
        ((1e-9,), 0.0, None, True),
        ((None,), 0.0, 1.0, False),
        ((0.5,), None, None, False),
    ],
)
def test_a_search_that_failed_is_no_evidence(losses, truth, blind, is_failed):
    trials = with_scores((5.0, 5.0), losses=losses, loss_at_truth=truth, loss_blind=blind)
    verdict = decide(trials, SETTING, ALPHA)
    assert (verdict.outcome == "inconclusive") == is_failed
    assert ("The search failed" in verdict.reason) == is_failed


@pytest.mark.parametrize("status", ["ok", "diverged", "timed_out"])
def test_what_leaks_leaks_however_the_attack_ended_and_whatever_its_control(status):
    trials = {**with_scores((30.0, 12.0), chance=0.001, status=status), CONTROL: trial((5.0, 5.0), (50, 50), chance=0.9)}
    assert decide(trials, SETTING, ALPHA).outcome == "leaks"


@pytest.mark.parametrize(
    ("trials", "outcome", "reason"),
    [
        (with_scores((5.0, 5.0)), "no leak found by these attacks", "not a proof"),
        (with_scores((5.0, 5.0), status="diverged"), "inconclusive", r"did not end well \(diverged\): its loss is no number\."),
        (
            with_scores((None, None), None, status="out_of_scope", message="no linear layer"),
            "inconclusive",
            r"\(out_of_scope\): no linear layer\.",
        ),
        (
            {**with_scores((5.0, 5.0)), CONTROL: trial((19.0, 5.0), (1, 50), chance=0.02)},
            "inconclusive",
            "The positive control failed",
        ),
        ({**with_scores((5.0, 5.0)), CONTROL: trial((19.0, 5.0), (1, 1))}, "no leak found by these attacks", "recovered 0 of 2"),
        ({**with_scores((5.0, 5.0)), CONTROL: trial((21.0, 5.0), None)}, "no leak found by these attacks", "recovered 1 of 2"),
    ],
)
def test_no_leak_is_said_only_where_it_says_something(trials, outcome, reason):
    verdict = decide(trials, SETTING, ALPHA)
    assert verdict.outcome == outcome
    assert re.search(reason, verdict.reason)


@pytest.mark.parametrize(
    ("losses", "at_truth", "note"),
    [
        ((5.0, 2.0), 1.0, "The search ended at a loss of 2, above the 1 at the truth: more steps or restarts may find it."),
        ((1.005,), 1.0, "The search reached a loss of 1, no higher than the 1 at the truth"),
        ((0.5, None), 1.0, "The search reached a loss of 0.5, no higher than the 1 at the truth"),
        ((1e-13,), 0.0, "The search reached a loss of 1e-13, no higher than the 0 at the truth"),
        ((1e-8,), 0.0, "The search ended at a loss of 1e-08, above the 0 at the truth"),
        ((None,), 1.0, None),
        ((1.0,), None, None),
    ],
)
def test_a_failed_search_is_told_from_a_failed_objective(losses, at_truth, note):
    notes = diagnose(with_scores((5.0, 5.0), losses=losses, loss_at_truth=at_truth), SETTING)
    assert (notes == ()) if note is None else (len(notes) == 1 and notes[0].startswith(note))


def test_a_search_that_succeeded_needs_no_diagnosis():
    assert diagnose(with_scores((30.0, 5.0), losses=(1.0,), loss_at_truth=0.0), SETTING) == ()


def test_unknowns_are_counted():
    few = replace(SETTING, sent=31, input_shape=(1, 4, 4), examples=2)
    (note,) = diagnose(with_scores((30.0, 5.0)), few)
    assert note == "The update holds 31 numbers for 32 unknown pixels: it cannot determine them without a prior."
    assert diagnose(with_scores((30.0, 5.0)), replace(few, sent=32)) == ()


# Audits

POOL = Photographs(size=9).load()


def scene(victim=FLAT, count=1, public=True):
    """Photographs that lie at the end of the pool, with the others as public data."""
    model = victim.build(POOL.inputs, rng=stream(0, "victim"))
    secret = Batch(POOL.x[:count], POOL.y[:count])
    others = Batch(POOL.x[10:], POOL.y[10:]) if public else None
    return Scene(model=model, secret=secret, public=others, class_names=POOL.class_names)


def plan(attack, **changes):
    settings = {"client": FedSGD(), "threat": SERVER, "attack": attack, "blind": MeanImage(), "metrics": {"psnr": PSNR()}}
    return Plan(**{**settings, **changes})


QUICK = inverting_gradients(steps=2)


def test_an_undefended_update_of_one_example_leaks():
    outcome = run(scene(), plan(Analytic()))
    record = outcome.record
    assert record.verdict.outcome == "leaks"
    assert record.status == record.trials[ATTACK].status == "ok"
    assert record.trials[ATTACK].scores["psnr"][0] > 60
    assert record.trials[ATTACK].ranks == (1,)
    assert record.trials[ATTACK].label_accuracy == 1.0
    assert record.trials[FLOOR].scores["psnr"][0] < 20
    assert record.trials[BLIND].scores["psnr"][0] < 20
    assert record.trials[CONTROL] == record.trials[ATTACK]
    torch.testing.assert_close(outcome.images.guesses[ATTACK], outcome.images.truth, atol=1e-3, rtol=0)
    assert outcome.images.guesses.keys() == record.trials.keys() == {ATTACK, FLOOR, BLIND, CONTROL}


def test_what_an_audit_says_of_its_setting():
    setting = run(scene(count=2), plan(Analytic(), defenses=(Pruning(share=0.5),), threat=INFORMED)).record.setting
    assert (setting.threat, setting.examples, setting.input_shape, setting.classes) == ("informed", 2, (3, 9, 9), 10)
    assert setting.granted == tuple(sorted(INFORMED.grants))
    assert setting.withheld == ("defense",)
    assert setting.class_names == ("astronaut", "cat")
    assert setting.parameters == setting.sent == 243 * 32 + 32 + 32 * 10 + 10
    assert (setting.client, setting.defenses) == (repr(FedSGD()), ("Pruning(share=0.5)",))
    assert (setting.candidates, setting.threshold, setting.margin) == (45, 20.0, 3.0)  # two thirds of two classes


def test_large_noise_hides_what_the_control_shows():
    record = run(scene(), plan(Analytic(), defenses=(GaussianNoise(sigma=1.0),))).record
    assert record.verdict.outcome == "no leak found by these attacks"
    assert record.trials[CONTROL].scores["psnr"][0] > 60
    assert record.trials[ATTACK].scores["psnr"][0] < 15


@pytest.mark.parametrize(("count", "said"), [(0, "no other data to compare with"), (30, "the pool is too small to say so")])
def test_nothing_is_no_leak_without_other_data_beside_which_one_would_show(count, said):
    case = scene(public=False) if count == 0 else scene()
    few = None if case.public is None else case.public[:count]
    verdict = run(replace(case, public=few), plan(Analytic(), defenses=(GaussianNoise(sigma=1.0),))).record.verdict
    assert verdict.outcome == "inconclusive"
    assert said in verdict.reason


def test_how_often_the_control_inverts_other_updates_is_what_no_leak_is_worth():
    hidden = {"defenses": (GaussianNoise(sigma=1.0),), "control": Analytic()}
    record = run(scene(), plan(Analytic(), criteria=Criteria(power=12), **hidden)).record
    assert record.setting.power == (12, 12)
    assert record.verdict.outcome == "no leak found by these attacks"
    assert "and inverted 12 of 12 such updates, of this batch and of others (95% interval 76% to 100%)" in record.verdict.reason
    alone = run(scene(), plan(Analytic(), **hidden)).record
    assert alone.setting.power is None
    assert "recovered 1 of 1 examples of the undefended update (95% interval 21% to 100%)" in alone.verdict.reason
    blind = run(scene(), plan(MeanImage(), control=MeanImage(), threat=ADAPTIVE, criteria=Criteria(power=12))).record
    assert blind.setting.power[0] <= 2  # who knows nothing inverts nothing


def test_a_defense_that_does_not_help_is_told():
    record = run(scene(), plan(Analytic(), defenses=(Clipping(norm=0.01),))).record
    assert record.verdict.outcome == "leaks"


def test_a_guess_is_held_against_what_the_client_trained_on_too():
    record = run(scene(), plan(Analytic(), defenses=(ATS(policy="0"),))).record  # inverts all colors
    scores = record.trials[ATTACK].scores
    assert scores["psnr"][0] < 15
    assert scores["psnr_trained"][0] > 60
    assert record.verdict.outcome == "leaks"
    assert "1 of them only as the client changed them" in record.verdict.reason
    assert record.trials[FLOOR].scores["psnr_trained"][0] < 20
    assert record.trials[BLIND].scores["psnr_trained"][0] < 20
    assert record.trials[CONTROL].scores.keys() == {"psnr"}
    plain = run(scene(), plan(Analytic())).record
    assert plain.trials[ATTACK].scores.keys() == {"psnr"}


class FirstRound:
    """An attack that inverts the first round that was seen."""

    needs = Analytic().needs

    def run(self, seen, /, *, rng, tick):
        return Analytic().run(seen.earlier[0], rng=rng, tick=tick)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_trained_on_is_that_of_the_update_of_the_first_round(seed):
    settings = {"defenses": (ATS(policy="21-13-3+7-4-15"), Clipping(norm=0.1)), "seed": seed}
    one = run(scene(), plan(Analytic(), **settings)).record
    assert one.trials[ATTACK].scores["psnr_trained"][0] > 60
    several = run(scene(), plan(FirstRound(), rounds=Rounds(count=3, server_rate=0.0), **settings)).record
    assert several.trials[ATTACK].scores["psnr_trained"][0] > 60


def test_of_a_recorded_update_nobody_knows_what_it_was_trained_on():
    case, defense = scene(), ATS(policy="21-13-3")
    update = defense.protect(FedSGD())(case.model, case.secret, rng=stream(9))
    record = run(replace(case, update=update), plan(Analytic(), defenses=(defense,))).record
    assert record.trials[ATTACK].scores.keys() == {"psnr"}


def test_an_attack_that_is_too_weak_for_its_control_is_inconclusive():
    weak = dlg(search=LBFGS(steps=1, inner=1), restarts=1)
    record = run(scene(LeNet(channels=2)), plan(weak)).record
    assert record.verdict.outcome == "inconclusive"
    assert "positive control failed" in record.verdict.reason
    assert any("more steps or restarts may find it" in note for note in record.diagnosis)
    assert record.trials[ATTACK].loss_at_truth == pytest.approx(0, abs=1e-9)


def test_an_attack_out_of_scope_is_inconclusive():
    outcome = run(scene(ConvNet(width=2)), plan(Analytic()))
    assert outcome.record.status == "out_of_scope"
    assert outcome.record.verdict.outcome == "inconclusive"
    assert "Conv2d" in outcome.record.verdict.reason
    assert outcome.images.guesses[ATTACK].isnan().all()
    assert outcome.record.trials[ATTACK].scores == {}


def test_an_objective_that_is_blind_to_the_secret_is_told():
    attack = inverting_gradients(steps=40, total_variation=1e6)
    record = run(scene(LeNet(channels=2)), plan(attack, threat=INFORMED)).record
    assert record.verdict.outcome == "inconclusive"
    assert any("does not single out the private data" in note for note in record.diagnosis)


def test_few_numbers_are_told():
    record = run(scene(MLP(hidden=(2,)), count=2), plan(Analytic())).record
    assert not any("cannot determine" in note for note in record.diagnosis)
    small = scene(LeNet(channels=1), count=2)
    record = run(small, plan(QUICK, threat=INFORMED)).record
    assert any(note.endswith("for 486 unknown pixels: it cannot determine them without a prior.") for note in record.diagnosis)


def test_an_attack_that_needs_more_is_refused():
    with pytest.raises(UsageError, match=r"^threat: 'server' does not grant labels, which the attack Matching needs"):
        run(scene(), plan(QUICK))


class Watching:
    """An attack that remembers what it was given, and guesses gray."""

    needs = frozenset()

    def __init__(self, fault=None):
        self.met, self.fault = [], fault

    def run(self, seen, /, *, rng, tick):
        self.met.append((seen, rng.get_state()))
        if self.fault is not None:
            raise self.fault
        tick(1.0)
        gray = torch.full((seen.update.examples or 1, *seen.model.inputs.shape), 0.5)
        return Reconstruction(Batch(gray, torch.zeros(len(gray), dtype=torch.long)), torch.tensor([1.0]), status=Status.DIVERGED)


def test_every_attack_meets_the_same_update_with_the_same_chance():
    one, other = Watching(), Watching()
    noisy = {"client": FedAvg(epochs=2, batch_size=1, optimizer=SGD(momentum=0.9)), "defenses": (GaussianNoise(sigma=0.1),)}
    for watching in (one, other):
        run(scene(count=3), plan(watching, **noisy))
    assert len(one.met) == len(other.met) == 3
    for (a, a_rng), (b, b_rng) in zip(one.met, other.met, strict=True):
        assert torch.equal(a_rng, b_rng)
        assert all(torch.equal(value, b.update.delta[name]) for name, value in a.update.delta.items())
    seeds = Watching()
    run(scene(count=3), plan(seeds, seed=1, **noisy))
    assert any(not torch.equal(value, seeds.met[0][0].update.delta[name]) for name, value in one.met[0][0].update.delta.items())
    assert not torch.equal(one.met[0][1], seeds.met[0][1])


def test_the_controls_are_what_they_are_called():
    watching, control = Watching(), Watching()
    case = scene(count=2)
    defense = Clipping(norm=1e-3)
    client = FedAvg(epochs=2, batch_size=1, optimizer=SGD(momentum=0.9))
    chance = lambda: stream(0, "client")  # noqa: E731  (attack and controls share it, down to the order of the examples)
    record = run(case, plan(watching, client=client, control=control, defenses=(defense,), threat=SERVER)).record
    attack, floor = (seen for seen, _ in watching.met)
    ((undefended, _),) = control.met
    for seen in (attack, floor, undefended):
        check_secrecy(seen, case.secret)
    sent = client(case.model, case.secret, rng=chance()).delta
    assert all(torch.allclose(value, undefended.update.delta[name]) for name, value in sent.items())
    clipped = defense.protect(client)(case.model, case.secret, rng=chance()).delta
    assert all(torch.allclose(value, attack.update.delta[name]) for name, value in clipped.items())
    assert any(not torch.allclose(value, floor.update.delta[name], rtol=0.1) for name, value in clipped.items())
    assert attack.threat == floor.threat == SERVER
    assert undefended.threat == ADAPTIVE
    assert record.status == "diverged"
    assert list(record.trials) == [ATTACK, FLOOR, BLIND, CONTROL]


def test_decoys_candidates_and_public_data_are_apart():
    watching = Watching()
    case = scene(count=2)
    record = run(case, plan(watching, threat=INFORMED, criteria=Criteria(candidates=20))).record
    held = watching.met[0][0].public
    assert len(held) == len(case.public) - 2 - 19
    assert record.setting.candidates == 20
    rows = lambda x: {tuple(image.flatten().tolist()) for image in x}  # noqa: E731
    assert not rows(held.x) & rows(case.secret.x)
    again = Watching()
    run(case, plan(again, threat=INFORMED, criteria=Criteria(candidates=20)))
    assert torch.equal(held.x, again.met[0][0].public.x)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_enough_other_data_there_is_no_floor_from_it(count):
    case = scene(count=2)
    case = replace(case, public=case.public[:count] if count else None)
    record = run(case, plan(Analytic())).record
    assert FLOOR not in record.trials
    assert record.setting.candidates == (1 + -(-2 * count // 3) if count else None)
    assert BLIND in record.trials


def test_a_crash_of_the_attack_is_no_result():
    with pytest.raises(ZeroDivisionError):
        run(scene(), plan(Watching(fault=ZeroDivisionError())))
    outcome = run(scene(), plan(Watching(fault=OutOfScope("not here"))))
    assert outcome.record.trials[ATTACK].message == "not here"


def test_progress_rises_from_0_to_1():
    shares = []
    run(scene(), plan(inverting_gradients(steps=4), threat=INFORMED, defenses=(Clipping(),)), tick=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert 0 < shares[0] < 0.25


def test_the_same_audit_gives_the_same_record():
    one, other = (run(scene(count=2), plan(QUICK, threat=INFORMED, defenses=(GaussianNoise(sigma=0.01),))) for _ in range(2))
    for name, found in one.record.trials.items():
        assert replace(found, seconds=0) == replace(other.record.trials[name], seconds=0)
        assert torch.equal(one.images.guesses[name].nan_to_num(), other.images.guesses[name].nan_to_num())
    assert one.record.verdict == other.record.verdict
    assert not math.isnan(one.record.seconds)


@pytest.mark.parametrize(
    ("controls", "names"),
    [
        ((), [ATTACK]),
        (("floor",), [ATTACK, FLOOR]),
        (("blind",), [ATTACK, BLIND]),
        (("positive",), [ATTACK, CONTROL]),
        (("floor", "blind", "positive"), [ATTACK, FLOOR, BLIND, CONTROL]),
    ],
)
def test_only_the_controls_that_are_asked_for_are_run(controls, names):
    """Each as if all were: what is left out changes no other trial."""
    whole = plan(Analytic(), defenses=(GaussianNoise(sigma=0.01),))
    outcome = run(scene(), replace(whole, controls=frozenset(controls)))
    assert list(outcome.record.trials) == list(outcome.images.guesses) == names
    everything = run(scene(), whole).record.trials
    for name, made in outcome.record.trials.items():
        alike = {"seconds": 0.0, "chance": None, "ranks": None, "bars": {}}  # these rest on the floors that were run
        assert replace(made, **alike) == replace(everything[name], **alike)


def test_an_attack_that_is_its_own_control_stands_for_it_only_where_one_is_asked_for():
    assert CONTROL in run(scene(), plan(Analytic())).record.trials
    assert CONTROL not in run(scene(), plan(Analytic(), controls=frozenset({"floor"}))).record.trials


def test_without_a_positive_control_nothing_found_says_nothing():
    trials = with_scores((5.0, 5.0))
    del trials[CONTROL]
    verdict = decide(trials, SETTING, ALPHA)
    assert verdict.outcome == "inconclusive"
    assert verdict.reason.startswith("No positive control was run")
    assert decide({**trials, ATTACK: SOUND[ATTACK]}, SETTING, ALPHA).outcome == "leaks"


@pytest.mark.parametrize("steps", [0, 3], ids=["fresh", "trained"])
def test_an_audit_does_not_depend_on_how_many_threads_there_are(steps):
    """A gradient's sums are in another order on two threads, and its last digits are others."""
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made = prepare(parse({**WIDE, "training": steps}))
            found.append(run(*made).record.setting)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert (found[0].model, found[0].update) == (found[1].model, found[1].update)


WIDE = {
    "data": {"name": "photographs", "size": 16},
    "batch": {"size": 1},
    "victim": {"name": "cnn", "width": 16},
    "attack": {"name": "inverting_gradients", "steps": 2},
    "threat": "informed",
}
