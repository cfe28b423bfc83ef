"""How often the positive control inverts undefended updates of this kind: what finding nothing is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from leakgauge.auditing.lineup import Sides
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.record import CONTROL, Setting, Trial
from leakgauge.auditing.scoring import lineup_of, scored
from leakgauge.auditing.trials import Tried
from leakgauge.auditing.verdict import leakage
from leakgauge.core.types import Capability


def power(
    control: Trial, more: Sequence[Tried], scene: Scene, plan: Plan, setting: Setting, floors: Sequence[Tensor], sides: Sides
) -> tuple[int, int] | None:
    """Return how many undefended updates the control inverted, of how many it was tried on; None if it was the secret's alone.

    An update counts as inverted if it would be told to leak, wholly or in part, beside the same floors and the same line-up.
    """
    if not more:
        return None
    is_labeled = Capability.LABELS in plan.threat
    judged = [control]
    for one in more:
        other = replace(scene, secret=one.case.batch, update=None)
        judged.append(scored(one, other, plan, lineup_of(other, plan, sides.lineup, is_labeled=is_labeled), floors, sides)[0])
    inverted = sum(bool(leakage(CONTROL, {CONTROL: trial}, setting, plan.criteria.alpha)) for trial in judged)
    return inverted, len(judged)
