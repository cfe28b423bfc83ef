"""What a reader must know of an audit to weigh its verdict."""

from __future__ import annotations

from collections.abc import Mapping

from leakgauge.auditing.evidence import Lineup
from leakgauge.auditing.fidelity import mismatch
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.record import ATTACK, CONTROL, Setting
from leakgauge.auditing.trials import Tried
from leakgauge.core import tree
from leakgauge.core.abilities import ROUNDS, Learned, inmost, used_by
from leakgauge.core.types import Capability, Observation


def setting_of(scene: Scene, plan: Plan, lineup: Lineup, tried: Mapping[str, Tried]) -> Setting:
    """Return the setting of an audit whose trials are over."""
    names = scene.class_names or tuple(str(label) for label in range(scene.model.inputs.classes))
    seen, control = tried[ATTACK].seen, tried.get(CONTROL)
    wrong = ""
    if scene.update is not None:
        wrong = mismatch(scene.update, scene.model, scene.secret, client=plan.client, defenses=plan.defenses, seed=plan.seed)
    is_same = not plan.defenses and not wrong and control is not None and control.case.attack.needs <= plan.threat.grants
    return Setting(
        threat=plan.threat.name,
        granted=tuple(sorted(plan.threat.grants)),
        withheld=tuple(sorted(set(Capability) - plan.threat.grants)),
        examples=len(scene.secret),
        input_shape=scene.model.inputs.shape,
        classes=scene.model.inputs.classes,
        class_names=tuple(names[int(label)] for label in scene.secret.y),
        parameters=sum(value.numel() for value in scene.model.params.values()),
        sent=sum(value.numel() for one in (seen, *seen.earlier) for value in one.update.delta.values()),
        client=repr(plan.client) if scene.update is None else f"{plan.client!r}, for floor and controls; the update was recorded",
        defenses=tuple(repr(defense) for defense in plan.defenses),
        rounds=plan.rounds.count,
        candidates=len(lineup.others) + 1 if len(lineup.others) else None,
        least_chance=lineup.least_chance if len(lineup.others) else None,
        threshold=plan.criteria.threshold,
        margin=plan.criteria.margin,
        alpha=plan.criteria.alpha,
        is_same_update=is_same,
        mismatch=wrong,
        learned=_learned(scene, plan),
        model=tree.fingerprint(scene.model.params),
        update=tree.fingerprint(seen.update.delta),
        unused=tuple(sorted(map(str, offered(seen, plan) - used_by(plan.attack)))),
    )


def _learned(scene: Scene, plan: Plan) -> int:
    """How many of the private examples the attack has learned from."""
    attack = inmost(plan.attack)
    return int(attack.knows(scene.secret.x, scene.model.inputs).sum()) if isinstance(attack, Learned) else 0


def offered(seen: Observation, plan: Plan) -> frozenset[str]:
    """Return what was granted and is there: some defense, another round, labels, public data, statistics of BatchNorm."""
    there = {
        Capability.DEFENSE: bool(plan.defenses) and Capability.DEFENSE in plan.threat,
        Capability.LABELS: seen.labels is not None,
        Capability.PUBLIC_DATA: seen.public is not None,
        Capability.BUFFERS: bool(seen.update.buffers),
        ROUNDS: bool(seen.earlier),
    }
    return frozenset(grant for grant, is_there in there.items() if is_there)
