"""What to try next: where a Gaussian process expects the most improvement (Jones et al., J. Global Optim. 1998), by optuna."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import torch

from leakgauge.core.errors import MissingExtra
from leakgauge.core.rng import stream
from leakgauge.tuning.ranges import Choice, Range, Ranges

DIGITS = 3
"""How many digits of a number are kept: more tell nothing after a few trials."""
RANDOM = 4
"""How many trials there must be before they say where to look: few, for each is a handful of audits."""


def proposed(ranges: Ranges, past: Sequence[tuple[Mapping[str, Any], float]], *, seed: int) -> dict[str, Any]:
    """Return settings to try after those of the past, each with its merit (more is better, -inf for none).

    Random ones until there are `RANDOM`. The same past and seed give the same settings. Raises MissingExtra without optuna.
    """
    optuna = _optuna()
    distributions = {path: _distribution(optuna, one) for path, one in ranges.items()}
    draws = torch.randint(0, 2**31, (), generator=stream(seed, "tune", "proposal", len(past)))
    study = optuna.create_study(direction="maximize", sampler=_sampler(optuna, int(draws)))
    worst = min((merit for _, merit in past if isfinite(merit)), default=0.0)
    for settings, merit in past:
        if all(_is_within(one, settings[path]) for path, one in ranges.items()):  # the audit's own settings may lie elsewhere
            params = {path: _coded(one, settings[path]) for path, one in ranges.items()}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=max(merit, worst)))
    found = study.ask(distributions).params
    return {path: _decoded(one, found[path]) for path, one in ranges.items()}


def check_installed() -> None:
    """Raise MissingExtra without optuna."""
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra("tuning", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of every study that is made here, and of faster libraries
    return optuna


def _sampler(optuna: Any, seed: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=RANDOM)


def _distribution(optuna: Any, one: Range | Choice) -> Any:
    if isinstance(one, Choice):
        return optuna.distributions.CategoricalDistribution(range(len(one.values)))
    kind = optuna.distributions.IntDistribution if one.is_integer else optuna.distributions.FloatDistribution
    return kind(one.low, one.high, log=one.is_log)


def _is_within(one: Range | Choice, value: Any) -> bool:
    if isinstance(one, Choice):
        return value in one.values
    return isinstance(value, int | float) and one.low <= value <= one.high


def _coded(one: Range | Choice, value: Any) -> Any:
    return one.values.index(value) if isinstance(one, Choice) else value


def _decoded(one: Range | Choice, found: Any) -> Any:
    if isinstance(one, Choice):
        return one.values[found]
    if one.is_integer:
        return int(found)
    return min(max(float(f"{found:.{DIGITS}g}"), one.low), one.high)
