"""The observed information of a Gaussian likelihood by probes, and how sure standard errors by it are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.probed import ProbedFactor
from lmeformula.arrays import Floats, Mask
from lmeformula.checkpoint.journal import done
from lmeformula.likelihood.gaussian.likelihood import pull_of_data, score
from lmeformula.likelihood.gaussian.posterior import fixed_information
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.probing import inverse_inside
from lmeformula.likelihood.sureness import FEW, Sureness, sureness
from lmeformula.model.params import ParamSpace

# Step of the differences to either side, in log sds: its square is left, and, divided by it, what equations
# solved to nine digits leave of sums over many rows. All ends have the same probes.
DIFFERENCE = 1e-3
Ways = Callable[[Floats, Mask], Floats]


class Observed(NamedTuple):
    """The observed information.

    Attributes:
      informations: (m, d, d) by each probe, whose mean is the one to use; zero for what is not inside.
      follow: (d, d) how psi moves with what the likelihood has: where it is restricted the fixed effects, which
        it does not have, go with the others.
      sureness: what the reported variances owe to the probes.
    """

    informations: Floats
    follow: Floats
    sureness: Sureness


def observed_by_probes(
    data: Sums,
    space: ParamSpace,
    psi: Floats,
    inside: Mask,
    found: Solution[ProbedFactor],
    scores: Floats,
    reml: bool,
    ways: Ways | None,
) -> Observed:
    """The negative second derivative of the log-likelihood, that of theta by differences of the score.

    They are taken along the ways of theta: where the columns of a term are nearly equal, a single sd or
    correlation that moves changes the likelihood out of all proportion.

    That of the restricted likelihood has nothing beside the fixed effects' own block; see information.py.
    The log-likelihood along which all sds grow together is known, -n log c - r'V^-1 r / 2 c^2: that gives the
    information of log sigma from the others'.

    Args:
      data: the cross products, with the probes.
      space: the parameter space.
      psi: (d,) where; boundary parameters hold a finite stand-in.
      inside: (d,) which are not at their boundary.
      found: the problem solved there.
      scores: (m, d) the score there, by each probe.
      reml: of the restricted likelihood.
      ways: see `fit_iterative`.
    """
    d, p, m = space.size, space.num_fixed, len(scores)
    sigma, own = space.residual_sd(psi), space.own_slice
    theta = np.flatnonzero(inside[p : own.start]) + p
    along = (np.eye(d) if ways is None else ways(psi, inside))[np.ix_(theta, theta)]
    back = np.linalg.inv(along)
    fixed = fixed_information(data, found, sigma)

    def there(at: Floats, data: Sums = data) -> tuple[Floats, Floats, Floats]:
        each, solved = score(data, space, at, reml)
        return each, fixed_information(data, solved, space.residual_sd(at)), solved.gamma

    falls = np.zeros((m, d, len(theta)))
    growths, turns = np.zeros((p, p, len(theta))), np.zeros((p, len(theta)))
    for j, way in enumerate(along.T):
        ends = []
        for side in (-DIFFERENCE, DIFFERENCE):
            moved = psi.copy()
            moved[theta] += side * way
            ends.append(done("scores", moved, partial(there, moved)))
        behind, ahead = ends
        falls[:, :, j] = (behind[0] - ahead[0]) / (2.0 * DIFFERENCE)
        growths[:, :, j] = (ahead[1] - behind[1]) / (2.0 * DIFFERENCE)
        turns[:, j] = (ahead[2] - behind[2]) / (2.0 * DIFFERENCE)
    grows = np.zeros(d)
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        grows[place.start : place.start + term.structure.num_sds(len(term.columns))] = 1.0
    pull = pull_of_data(space, psi, found)
    # What the score by each probe loses along each parameter, which is symmetric in the mean alone.
    losses = np.zeros((m, d, d))
    losses[:, :p, :p] = fixed
    losses[:, :, theta] = falls @ back
    losses[:, theta, :p] = losses[:, :p, theta].transpose(0, 2, 1)
    whole = np.tile(2.0 * pull, (m, 1))
    whole[:, :p] = 2.0 * scores[:, :p]
    whole[:, own] = 2.0 * (found.rss / sigma**2 - grows @ pull)
    losses[:, :, own] = (whole - losses @ grows)[:, :, None]
    losses[:, own, :p] = losses[:, :p, own].transpose(0, 2, 1)
    losses[:, ~inside] = 0.0
    losses[:, :, ~inside] = 0.0
    informations = 0.5 * (losses + losses.transpose(0, 2, 1))

    few = data if data.signs is None else data._replace(signs=data.signs[:, :FEW])
    inverse, _ = inverse_inside(informations.mean(axis=0), inside)
    sure = sureness(
        space,
        psi,
        inside,
        inverse,
        losses,
        lambda at: done("scores", at, partial(there, at, few))[0].mean(axis=0),
        scores,
        np.arange(d) >= p,
    )
    in_psi = np.zeros((p, p, d))
    in_psi[:, :, theta] = growths @ back
    in_psi[:, :, own] = (-2.0 * fixed - in_psi @ grows)[:, :, None]
    follow = np.eye(d)
    if reml:
        follow[:p, theta] = np.linalg.solve(data.R, turns @ back)
        # Of what grows by one factor, sigma as well, the best fixed effects are the same.
        follow[:p, own] = -(follow[:p] @ grows)[:, None]
    return Observed(informations, follow, _with_fixed(sure, fixed, in_psi))


def _with_fixed(sure: Sureness, fixed: Floats, slopes: Floats) -> Sureness:
    """With what is reported of fixed effects: from their own block (p, p), of slopes (p, p, d) in psi."""
    p = len(fixed)
    covariance = np.linalg.pinv(fixed)
    variances, turns = sure.variances.copy(), sure.turns.copy()
    variances[:p] = np.diag(covariance)
    turns[:p] = -np.einsum("ia,abj,ib->ij", covariance, slopes, covariance)
    return sure._replace(variances=variances, turns=turns)
