"""Response families as TFP distributions: a small table, one record a family and link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow_probability as tfp
from numpy.typing import NDArray

from lmeformula.design.design import ResponseBlock
from lmeformula.errors import ModelError

tfd = tfp.distributions

Floats = NDArray[np.float64]
Tensor: TypeAlias = Any
Distribution: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class FamilyRule:
    """How one response family becomes a TFP distribution.

    Attributes:
      family: its name.
      link: the link function that `distribution` applies to the linear predictor.
      has_sigma: whether it has a residual standard deviation.
      takes_trials: whether a response is a count of successes out of trials.
      distribution: (eta (..., n), sigma or None, trials (n,) or None) -> distribution of the rows.
    """

    family: str
    link: str
    has_sigma: bool
    takes_trials: bool
    distribution: Callable[[Tensor, Tensor, Tensor], Distribution]


def _gaussian(eta: Tensor, sigma: Tensor, trials: Tensor) -> Distribution:
    return tfd.Normal(loc=eta, scale=sigma)


def _bernoulli(eta: Tensor, sigma: Tensor, trials: Tensor) -> Distribution:
    return tfd.Bernoulli(logits=eta, dtype=eta.dtype)


def _binomial(eta: Tensor, sigma: Tensor, trials: Tensor) -> Distribution:
    return tfd.Binomial(total_count=trials, logits=eta)


def _poisson(eta: Tensor, sigma: Tensor, trials: Tensor) -> Distribution:
    return tfd.Poisson(log_rate=eta)


FAMILY_RULES = (
    FamilyRule("gaussian", "identity", True, False, _gaussian),
    FamilyRule("bernoulli", "logit", False, False, _bernoulli),
    FamilyRule("binomial", "logit", False, True, _binomial),
    FamilyRule("poisson", "log", False, False, _poisson),
)


def family_rule(family: Any) -> FamilyRule:
    """Find the rule of a family.

    Args:
      family: its name, or a record with a `name` and optionally a `link`.
    Returns:
      rule: the first with that name, and that link where one is given.
    Raises:
      ModelError: there is none.
    Example:
      >>> family_rule("poisson").link
      'log'
    """
    name = family if isinstance(family, str) else family.name
    link = getattr(family, "link", None)
    for rule in FAMILY_RULES:
        if rule.family == name and link in (None, rule.link):
            return rule
    asked = name if link is None else f"{name} with link {link}"
    known = ", ".join(f"{rule.family} ({rule.link})" for rule in FAMILY_RULES)
    raise ModelError(
        f"there is no joint distribution for the family {asked}", hint=f"Known: {known}."
    )


def observed_rows(
    rule: FamilyRule, response: ResponseBlock, weights: Floats | None
) -> tuple[Floats, Floats | None]:
    """Bring a response to the scale of its family's distribution.

    Args:
      rule: the family.
      response: its values; (n, 2) successes and failures where the family takes trials.
      weights: (n,) prior weights, or None. They scale a residual sd; for a family of trials they
        are the numbers of trials of a response of proportions, as in lme4.
    Returns:
      observed: (n,) values, counts of successes where the family takes trials.
      trials: (n,) numbers of trials, or None where the family takes none.
    Raises:
      ModelError: the response or the weights mean nothing to the family.
    Example:
      >>> response = ResponseBlock("cbind(s, f)", "matrix", np.array([[2.0, 3.0], [0.0, 4.0]]))
      >>> observed, trials = observed_rows(family_rule("binomial"), response, None)
      >>> observed.tolist(), trials.tolist()
      ([2.0, 0.0], [5.0, 4.0])
    """
    values = response.values
    if rule.takes_trials:
        if values.ndim == 2 and values.shape[1] == 2:
            return values[:, 0], values.sum(axis=1)
        if values.ndim == 1 and response.trials is not None:
            return values, response.trials
        if values.ndim == 1:
            trials = np.ones(len(values)) if weights is None else weights
            return values * trials, trials
        raise ModelError(
            f"a {rule.family} response has two columns, successes and failures; "
            f"{response.name!r} has {values.shape[1]}",
            hint="Write cbind(successes, failures), or successes | trials(n).",
        )
    if values.ndim != 1 or response.trials is not None:
        raise ModelError(
            f"the {rule.family} family takes one number a row, and {response.name!r} gives more",
            hint="Use family='binomial' for successes out of trials.",
        )
    if weights is not None and not rule.has_sigma:
        raise ModelError(
            f"prior weights of a {rule.family} response have no joint distribution to draw from",
            hint="Repeat the rows instead, or use family='binomial' for successes out of trials.",
        )
    return values, None
