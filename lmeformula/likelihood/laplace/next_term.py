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

from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.meetings import FACTORED
from lmeformula.arrays import Floats
from lmeformula.likelihood.laplace.likelihood import Mode, Problem

# Pairs of draws: at least and at most, and numbers of rows looked at in all.
FEWEST, MOST, NUMBERS = 4, 64, 4_000_000
# Pairs to begin with, doubled until a bound is so many errors away: no claim then hangs on further ones.
FIRST, TOLD = 16, 4.0


class NextTerm(NamedTuple):
    """The next term, and its Monte Carlo error; infinite where the density is not finite over all draws."""

    value: float
    error: float


def next_term(problem: Problem, mode: Mode, bound: float = math.nan, seed: int = 0) -> NextTerm:
    """Work out the next term of Laplace's series.

    Args:
      problem: the model's arrays.
      mode: the mode, with M factored there.
      bound: of the term's size, on a side of which it is wanted for certain; by default the term is worked
        out with all draws.
      seed: of the draws.
    Returns:
      What the log-likelihood is above the approximation by that term.
    """
    rng = np.random.default_rng(seed)
    number = int(np.clip(NUMBERS // max(1, len(mode.eta)), FEWEST, MOST))
    values = np.zeros(0)
    while len(values) < number:
        more = min(max(FIRST, len(values)), number - len(values))
        values = np.append(values, _pairs(problem, mode, rng.normal(size=(more, len(mode.u)))))
        if not np.isfinite(values).all():
            return NextTerm(math.inf, math.inf)
        found = NextTerm(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))
        if abs(abs(found.value) - bound) > TOLD * found.error:
            break
    return found


def _pairs(problem: Problem, mode: Mode, draws: Floats) -> list[float]:
    """What each of draws (m, q) says of the term, with the opposite one."""
    assert isinstance(mode.factor, FACTORED)
    plan, at, found = problem.plan, mode.at, []
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
    return found
