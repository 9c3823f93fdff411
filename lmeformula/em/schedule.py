"""When to stop, and how many draws to take next: pure functions of what an iteration reported."""

from __future__ import annotations

import math

import numpy as np

from lmeformula.arrays import Floats

# Where the Monte Carlo error is nil (control variates of a Gaussian posterior), a step is small enough at this
# fraction of the tolerated error.
NEGLIGIBLE = 0.1
# Within this many standard errors of the maximum.
NEAR = 0.5
# A step of at most this many standard errors is likely to be the last one.
LAST_STEP = 1.0
# The floor under the observed fractions of information: where it starts and how it moves. It falls while steps
# go as Newton's metric predicted and rises when one overshoots, towards 1, the EM step.
FIRST_FLOOR = 0.2
FLOOR_FACTOR = 4.0
# Split R-hat up to which chains agree, the share of it that few draws add by chance, and the error, in standard
# errors, below which control variates leave nothing for them to disagree by.
HIGHEST_RHAT, CHANCE_OF_RHAT, NO_ERROR = 1.05, 2.0, 1e-6
# A step whose Monte Carlo error is larger than this, in standard errors, is not taken: draws are.
NOISY = 0.5
# Parameters ran away after so many steps on end that were cut, none of which turned.
MOST_CUT_STEPS = 10


def in_stderr(values: Floats, stderr: Floats) -> float:
    """The largest of `values` in units of the parameters' standard errors."""
    return float(np.max(np.abs(values) / stderr, initial=0.0))


def is_still(distance: Floats, mc_error: Floats, stderr: Floats, tolerance: float) -> bool:
    """Whether the distance to the maximum is within its Monte Carlo error, for every parameter.

    Two errors are allowed, widened to the number of parameters as Bonferroni's inequality asks: a fit at its
    maximum must not wait for a lucky iteration.
    """
    allowed = math.sqrt(4.0 + 2.0 * math.log(max(len(distance), 1))) * mc_error
    return bool(np.all(np.abs(distance) <= allowed + NEGLIGIBLE * tolerance * stderr))


def is_sharp(mc_error: Floats, stderr: Floats, tolerance: float) -> bool:
    """Whether every Monte Carlo error is below the tolerated fraction of its standard error."""
    return bool(np.all(mc_error <= tolerance * stderr))


def do_agree(rhat: float, num_draws: int, effective: float, largest_error: float) -> bool:
    """Whether chains agree, by their split R-hat.

    Args:
      rhat: nan where there are too few draws to tell.
      num_draws, effective: as for `highest_rhat`.
      largest_error: largest Monte Carlo error, in standard errors.
    """
    return largest_error < NO_ERROR or rhat <= highest_rhat(num_draws, effective)


def highest_rhat(num_draws: int, effective: float) -> float:
    """The split R-hat up to which chains agree.

    Args:
      num_draws: of each chain.
      effective: what they are worth, each chain's. Of chance it is this that counts, down to half of the draws:
        chains that hardly move are not excused by it.
    """
    worth = min(num_draws, max(effective, 0.5 * num_draws))
    return HIGHEST_RHAT + CHANCE_OF_RHAT / worth


def is_noisy(mc_error: Floats, stderr: Floats) -> bool:
    """Whether a step would lead nowhere but where its own error does."""
    return in_stderr(mc_error, stderr) > NOISY


def draws_in_place(num_draws: int, mc_error: Floats, stderr: Floats, tolerance: float) -> int:
    """Draws per chain, those that there are included, where nothing is to be gained by moving.

    Their number grows by the square of the excess of the error over the tolerance (errors fall with the root of
    the draws), at most fourfold.
    """
    return _sharpened(num_draws, mc_error, stderr, tolerance, 1.2)


def draws_after_step(
    num_draws: int, distance: Floats, mc_error: Floats, stderr: Floats, tolerance: float
) -> int:
    """Draws per chain at the end of a Newton step that moves by `distance`.

    Newton's method converges quadratically: where a step within a standard error ends, the fit is likely to
    end, and draws are taken for that at once: twice as many as seem to be enough, since the few that the error
    was worked out from may flatter it, and another place costs more than some draws.
    """
    if in_stderr(distance, stderr) > LAST_STEP:
        return num_draws
    return _sharpened(num_draws, mc_error, stderr, tolerance, 2.0)


def _sharpened(
    num_draws: int, mc_error: Floats, stderr: Floats, tolerance: float, reserve: float
) -> int:
    excess = in_stderr(mc_error, stderr) / tolerance
    return math.ceil(num_draws * min(4.0, max(1.0, reserve * excess**2)))
