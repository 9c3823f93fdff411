"""How sure standard errors by probes are, which have an error in the information and in where it is taken.

Of each reported parameter the variance is j'V j, with j its derivative in psi and V the inverse of the
information. With v = V j its differential is v'T v + 2 dj'v along a move of psi, T the third derivative of the
log-likelihood, and -v'dI v along a change of the information.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.model.params import ParamSpace

# Length of the steps that third derivatives are from, in standard errors: they are wanted to a few per cent.
LONG = 0.3
# So many probes are enough for these.
FEW = 2
# With no more probes than these nothing is known of how well their scatter is.
LEAST = 4
# What is left of a standard error by differences of scores; where estimates of logarithms are known better than
# that, so are standard errors by where they are taken, and no third derivative is worth its time.
LEFT = 1e-5
# Step of the differences of the derivative of what is reported.
STEP = 1e-5


def scatter(each: Floats) -> Floats:
    """(d, d) covariance of what single probes say, from (m, d).

    It is an estimate itself. In units of the root of its mth part the mean of m of them would be of a t
    distribution with m - 1 degrees of freedom, whose variance is (m - 1) / (m - 3): so that it is one, squares
    are divided by m - 3.

    Example:
      >>> scatter(np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0], [-1.0]])).tolist()
      [[2.0]]
    """
    freedom = len(each) - (3 if len(each) > LEAST else 1)
    off = each - each.mean(axis=0)
    return np.asarray(off.T @ off / freedom)


class Sureness(NamedTuple):
    """What variances on the reporting scale owe to probes.

    Attributes:
      variances: (d,) of the reported parameters; 0 where there is none.
      bends: (d, d) their derivatives (rows) in the place psi where the information was taken.
      turns: (d, d) the same in the place where they are reported.
      by_probe: (m, d) how the information by each probe moves them.
    """

    variances: Floats
    bends: Floats
    turns: Floats
    by_probe: Floats

    def errors(self, scores: Floats, inverse: Floats) -> Floats:
        """(d,) Monte Carlo errors of the standard errors, relative to these; nan where there are none.

        Args:
          scores: (m, d) by each probe, of which the first gave the information.
          inverse: (d, d) of the information.
        """
        count, first = len(scores), len(self.by_probe)
        # Relative from the start: squares of variances are no numbers in every unit.
        has_one = self.variances > 0.0
        size = np.where(has_one, 2.0 * self.variances, 1.0)
        off = scores[:first] @ inverse
        taken = self.by_probe / size + off @ (self.bends / size[:, None]).T
        whole = taken + off @ (self.turns / size[:, None]).T
        # Probes that were added tell of the place where variances are reported alone.
        together, alone = (np.diag(scatter(each)) for each in (whole, taken))
        variance = together / count + alone * (1.0 / first - 1.0 / count)
        return np.where(has_one, np.hypot(np.sqrt(variance), LEFT), np.nan)


def sureness(
    space: ParamSpace,
    psi: Floats,
    inside: Mask,
    inverse: Floats,
    losses: Floats,
    score_at: Callable[[Floats], Floats],
    scores: Floats,
    asked: Mask,
) -> Sureness:
    """What variances owe to probes, by one long step for each parameter.

    Args:
      space: the parameter space.
      psi: (d,) where the information was taken.
      inside: (d,) parameters that are not at their boundary.
      inverse: (d, d) of the information; zero outside.
      losses: (m, d, d) what the score by each probe loses along each parameter (columns): the information, but
        for noise by which it is not symmetric.
      score_at: psi (d,) -> (d,) the score there by the first `FEW` probes.
      scores: (m, d) at psi by each probe.
      asked: (d,) of which parameters; the others have zeros.
    """
    d = space.size
    jacobian = space.report_jacobian(psi)
    rows = jacobian @ inverse
    variances = np.einsum("ij,ij->i", rows, jacobian)
    asked = asked & inside & (variances > 0.0)
    variances = np.where(asked, variances, 0.0)
    beside = losses - losses.mean(axis=0)
    by_probe = -np.einsum("ia,mab,ib->mi", rows, beside, rows) * asked
    bends, turns = np.zeros((d, d)), np.zeros((d, d))
    for j in np.flatnonzero(inside):
        step = np.zeros(d)
        step[j] = STEP
        change = space.report_jacobian(psi + step) - space.report_jacobian(psi - step)
        turns[:, j] = np.einsum("ij,ij->i", change, rows) / STEP
    few, score = losses[:FEW].mean(axis=0), scores[:FEW].mean(axis=0)
    off = np.sqrt(np.diag(scatter(scores @ inverse.T)) / len(scores))
    is_sharp = off[space.num_fixed :].max(initial=0.0) < LEFT
    for i in () if is_sharp else np.flatnonzero(asked):
        size = float(np.sqrt(variances[i]))
        way = rows[i] / size
        beyond = score_at(psi + LONG * way) - score + LONG * (few @ way)
        bends[i] = 2.0 * variances[i] / LONG**2 * beyond
    is_asked = np.outer(asked, inside)
    bends, turns = (np.where(is_asked, slopes, 0.0) for slopes in (bends, turns))
    return Sureness(variances, bends, turns, by_probe)
