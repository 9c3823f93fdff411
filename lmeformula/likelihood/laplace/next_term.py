"""How far Laplace's approximation is from the log-likelihood: the next term of its series, by draws.

Around the mode the log joint density is a quadratic and a remainder r; the likelihood is the approximation
times the mean of exp(r) under the normal distribution of that quadratic. The next term of the logarithm of that
mean is the mean of the even part of r and half the mean square of its odd part: draws in antithetic pairs tell
the two apart, whatever the family, and with as many predictors as there are.

Reference: Shun, McCullagh (1995), Laplace approximation of high dimensional integrals, J. R. Statist. Soc. B
57, 749-760, for the term.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.factor import Factor
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.likelihood.laplace.likelihood import Mode, Problem

# Pairs of draws: at least and at most, and numbers of rows looked at in all.
FEWEST, MOST, NUMBERS = 4, 64, 4_000_000


class NextTerm(NamedTuple):
    """The next term, and its Monte Carlo error; infinite where the density is not finite over all draws."""

    value: float
    error: float


def next_term(problem: Problem, mode: Mode, seed: int = 0) -> NextTerm:
    """Work out the next term of Laplace's series.

    Args:
      problem: the model's arrays.
      mode: the mode, with M factored there.
      seed: of the draws.
    Returns:
      What the log-likelihood is above the approximation by that term.
    """
    assert isinstance(mode.factor, Factor)
    rng, plan, at = np.random.default_rng(seed), problem.plan, mode.at
    found = []
    number = int(np.clip(NUMBERS // max(1, len(mode.eta)), FEWEST, MOST))
    draws = rng.normal(size=(number, len(mode.u)))
    all_moved = mode.factor.solve_upper(draws.T)
    all_moves = plan.spread(apply_lambda(plan, at.lambdas, all_moved))
    for noise, moved, move in zip(draws, all_moved.T, all_moves.T.copy(), strict=True):
        quadratic = -0.5 * float(noise @ noise)
        beyond = []
        for sign in (1.0, -1.0):
            u = mode.u + sign * moved
            reached = problem.rows.slopes(mode.eta + sign * move, at.own).value - 0.5 * float(u @ u)
            beyond.append(reached - mode.value - quadratic)
        even, odd = 0.5 * (beyond[0] + beyond[1]), 0.5 * (beyond[0] - beyond[1])
        # A power of a number too large would be an error, a product is infinite.
        found.append(even + 0.5 * odd * odd)
    values = np.array(found)
    if not np.isfinite(values).all():
        return NextTerm(math.inf, math.inf)
    return NextTerm(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))
