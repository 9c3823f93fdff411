"""The families of the study: true parameters, and responses drawn by NumPy, not by what is studied."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from simulation import several

Floats = np.ndarray
Draw = Callable[[np.random.Generator, Floats, tuple[float, ...]], Floats]

TRIALS = 9
SLOPE = 0.5


class Case(NamedTuple):
    """A family, and what its data sets are drawn from.

    Attributes:
      family: as users write it.
      draw: (generator, predictors (n,), own parameters) -> responses (n,).
      own: true parameters of the family's own, as reported.
      intercept: true intercept; None where thresholds stand for it.
      sd: true standard deviation of the random intercepts.
      response: as the formula has it.
    """

    family: str
    draw: Draw
    own: tuple[float, ...] = ()
    intercept: float | None = 0.4
    sd: float = 0.8
    response: str = "y"

    @property
    def name(self) -> str:
        """In the table."""
        return self.family

    @property
    def formula(self) -> str:
        """As users write it."""
        return f"{self.response} ~ x + (1 | g)"

    def responses(self, rng: np.random.Generator, x: Floats, g: Floats, groups: int) -> Floats:
        """(n,) drawn for predictors x (n,) and the group of each row (n,)."""
        eta = (self.intercept or 0.0) + SLOPE * x + self.sd * rng.normal(size=groups)[g]
        return np.asarray(self.draw(rng, eta, self.own), float)

    @property
    def truth(self) -> Floats:
        """In the order of the estimates: fixed effects, standard deviation, own parameters."""
        fixed = [SLOPE] if self.intercept is None else [self.intercept, SLOPE]
        return np.array([*fixed, self.sd, *self.own])


def poisson(rng, eta, own):
    return rng.poisson(np.exp(eta))


def nbinom2(rng, eta, own):
    return rng.negative_binomial(own[0], own[0] / (own[0] + np.exp(eta)))


def nbinom1(rng, eta, own):
    return rng.negative_binomial(np.exp(eta) / own[0], 1.0 / (1.0 + own[0]))


def branching(rng, eta, own):
    """A generalized Poisson count: all offspring of Poisson ancestors, themselves among them."""
    spread = np.sqrt(1.0 + own[0])
    parents = rng.poisson(np.exp(eta) / spread)
    total = parents.copy()
    while parents.any():
        parents = rng.poisson((1.0 - 1.0 / spread) * parents)
        total += parents
    return total


def inflated(draw: Draw) -> Draw:
    return lambda rng, eta, own: draw(rng, eta, own) * (rng.uniform(size=len(eta)) > own[-1])


def cleared(draw: Draw) -> Draw:
    """Zeros by chance alone: counts are drawn again until they are not zero."""

    def found(rng, eta, own):
        counts = draw(rng, eta, own)
        while (counts == 0).any():
            counts = np.where(counts == 0, draw(rng, eta, own), counts)
        return counts * (rng.uniform(size=len(eta)) > own[-1])

    return found


def cumulative(rng, eta, own):
    return 1 + np.searchsorted(own, eta + rng.logistic(size=len(eta)))


def sequential(rng, eta, own):
    """Category after category, stopping by chance: P(stop at k) = F(threshold - eta).

    That is 1 - F(eta - threshold): of the logistic function, stopping and continuation ratios are one model.
    """
    y = np.full(len(eta), 1 + len(own))
    for k in range(len(own), 0, -1):
        y = np.where(rng.uniform(size=len(eta)) < expit(own[k - 1] - eta), k, y)
    return y


def adjacent(rng, eta, own):
    steps = eta[:, None] - np.asarray(own)
    logits = np.column_stack([np.zeros(len(eta)), np.cumsum(steps, axis=1)])
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    ends = np.cumsum(chances / chances.sum(axis=1, keepdims=True), axis=1)
    return 1 + (rng.uniform(size=len(eta))[:, None] > ends[:, :-1]).sum(axis=1)


def beta(rng, eta, own):
    drawn = rng.beta(own[0] * expit(eta), own[0] * expit(-eta))
    # A share that is 1 to all digits is not one of the family's.
    return np.clip(drawn, 1e-12, 1.0 - 1e-12)


def ordered_beta(rng, eta, own):
    part = rng.uniform(size=len(eta))
    above = np.where(part < expit(eta - own[1]), beta(rng, eta, own), 0.0)
    return np.where(part < expit(eta - own[2]), 1.0, above)


def tweedie(rng, eta, own):
    """The sum of a Poisson number of gamma amounts."""
    dispersion, power = own
    count = rng.poisson(np.exp((2.0 - power) * eta) / (dispersion * (2.0 - power)))
    shape = np.maximum(count, 1) * (2.0 - power) / (power - 1.0)
    amount = rng.gamma(shape, dispersion * (power - 1.0) * np.exp((power - 1.0) * eta))
    return np.where(count > 0, amount, 0.0)


THRESHOLDS = (-1.0, 0.3, 1.6)
COUNTED = f"cbind(y, {TRIALS} - y)"

CASES = {
    case.family: case
    for case in (
        Case("gaussian", lambda rng, eta, own: rng.normal(eta, own[0]), (1.2,)),
        Case(
            "student",
            lambda rng, eta, own: eta + own[0] * rng.standard_t(own[1], len(eta)),
            (0.7, 4.0),
        ),
        Case("lognormal", lambda rng, eta, own: np.exp(rng.normal(eta, own[0])), (0.6,)),
        Case("gamma", lambda rng, eta, own: rng.gamma(own[0], np.exp(eta) / own[0]), (2.5,)),
        Case("inverse_gaussian", lambda rng, eta, own: rng.wald(np.exp(eta), own[0]), (1.5,)),
        Case("beta", beta, (6.0,)),
        Case("ordered_beta", ordered_beta, (6.0, -1.5, 1.5)),
        Case("tweedie", tweedie, (1.3, 1.5)),
        Case("bernoulli", lambda rng, eta, own: rng.uniform(size=len(eta)) < expit(eta), sd=1.2),
        Case("binomial", lambda rng, eta, own: rng.binomial(TRIALS, expit(eta)), response=COUNTED),
        Case(
            "beta_binomial",
            lambda rng, eta, own: rng.binomial(TRIALS, beta(rng, eta, own)),
            (4.0,),
            response=COUNTED,
        ),
        Case("poisson", poisson),
        Case("nbinom2", nbinom2, (2.0,)),
        Case("nbinom1", nbinom1, (1.2,)),
        Case("generalized_poisson", branching, (1.2,)),
        Case("zero_inflated_poisson", inflated(poisson), (0.3,)),
        Case("zero_inflated_nbinom2", inflated(nbinom2), (3.0, 0.3), 1.2),
        Case("hurdle_poisson", cleared(poisson), (0.3,)),
        Case("hurdle_nbinom2", cleared(nbinom2), (3.0, 0.3), 1.2),
        Case("cumulative", cumulative, THRESHOLDS, None),
        Case("sratio", sequential, THRESHOLDS, None),
        Case("cratio", sequential, THRESHOLDS, None),
        Case("acat", adjacent, THRESHOLDS, None),
    )
} | several.CASES
