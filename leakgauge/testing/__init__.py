"""Conformance checks for authors of algorithms: plain functions that raise AssertionError with one line that says what is wrong.

    from leakgauge.testing import check_attack
    check_attack(MyAttack(steps=5))

Take settings that are quick: a check runs an algorithm several times, on a few images of 8x8 pixels.
"""

from leakgauge.testing.attacks import check_attack, check_labels, check_replay
from leakgauge.testing.clients import check_client, check_defense, check_gradient, check_optimizer
from leakgauge.testing.guards import check_algorithm, undisturbed
from leakgauge.testing.objectives import check_likelihood, check_prior, check_search, check_space
from leakgauge.testing.sampling import Sample, sample
from leakgauge.testing.secrecy import check_secrecy, tensors_in
from leakgauge.testing.worlds import check_data, check_metric, check_partition, check_victim

CHECKS = {
    "attack": check_attack,
    "client": check_client,
    "data": check_data,
    "defense": check_defense,
    "gradient": check_gradient,
    "labels": check_labels,
    "likelihood": check_likelihood,
    "metric": check_metric,
    "optimizer": check_optimizer,
    "partition": check_partition,
    "prior": check_prior,
    "replay": check_replay,
    "search": check_search,
    "space": check_space,
    "victim": check_victim,
}
"""The check of each family of `leakgauge.core.registry.FAMILIES`; each takes the algorithm first."""

__all__ = [
    "CHECKS",
    "Sample",
    "check_algorithm",
    "check_attack",
    "check_client",
    "check_data",
    "check_defense",
    "check_gradient",
    "check_labels",
    "check_likelihood",
    "check_metric",
    "check_optimizer",
    "check_partition",
    "check_prior",
    "check_replay",
    "check_search",
    "check_secrecy",
    "check_space",
    "check_victim",
    "sample",
    "tensors_in",
    "undisturbed",
]
