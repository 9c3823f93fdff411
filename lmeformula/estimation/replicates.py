"""Fits of one model to many responses at once, where its likelihood can be looked at for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from lmeformula.algebra.small import MOST_EFFECTS
from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.structure import Structure, below_diagonal
from lmeformula.design.design import Design
from lmeformula.fit import FittedModel
from lmeformula.likelihood.ascent import FEW_ROWS
from lmeformula.likelihood.factors import factor_space
from lmeformula.likelihood.gaussian.exact import LARGE_SDS, elements_at
from lmeformula.likelihood.gaussian.moments import USUAL
from lmeformula.likelihood.gaussian.no_residual import may_lack_residual
from lmeformula.likelihood.gaussian.orthogonal import orthogonal
from lmeformula.likelihood.gaussian.sums import Carrier
from lmeformula.likelihood.replicates.gaussian import GaussianReplicates, levels_of
from lmeformula.likelihood.replicates.maxima import highest
from lmeformula.model.params import ParamSpace

# Numbers of an array that replicates are worked on at a time in.
MOST_NUMBERS = 2_000_000


class Estimates(NamedTuple):
    """What fits of m responses found.

    Attributes:
      values: (m, d) estimates, on the reporting scale.
      stderr: (m, p) standard errors of the fixed effects.
      logliks: (m,) log-likelihoods.
      singular: (m,) whether a covariance of random effects is singular.
      found: (m,) whether a fit converged as any other does; the rest of such as did not tells nothing, and a
        single fit of theirs is needed.
    """

    values: Floats
    stderr: Floats
    logliks: Floats
    singular: Mask
    found: Mask


class Together(Protocol):
    """Fits a model to several responses.

    Attributes:
      at_a_time: how many responses are best given at once.
    """

    at_a_time: int

    def __call__(self, designs: Sequence[Design]) -> Estimates:
        """To designs that differ in their responses alone."""


class ExactTogether:
    """Of a Gaussian model with effects of one grouping factor; see `Together`.

    Args:
      fit: of the model.
      carrier: what the cross products of its design have without its response.
    """

    def __init__(self, fit: FittedModel, carrier: Carrier) -> None:
        self.space, self.reml, self.carrier = fit.model.space, fit.reml, carrier
        data = carrier.none
        self.roots = data.column_roots(self.space)
        self.charts = factor_space(self.space, self.roots)
        self.levels = levels_of(fit.model.design, carrier) if self.charts.is_linear else None
        start = self.charts.start(USUAL) if fit.singular else elements_at(self.charts, fit.params)
        self.start = start
        k, p = self.levels.ZQ.shape[1:] if self.levels is not None else (1, 1)
        each = len(data.Zy) * k * (k + p) + data.n
        self.at_a_time = max(1, MOST_NUMBERS // each)

    @property
    def serves(self) -> bool:
        """Whether all that a single fit looks at can be looked at here."""
        data = self.carrier.none
        has_turns = len(self.charts.alone()) < self.charts.size
        return (
            self.levels is not None
            and orthogonal(data).is_same
            and not may_lack_residual(data)
            and not (has_turns and data.n <= FEW_ROWS)
            and not (self.charts.size > 1 and data.n <= FEW_ROWS)
        )

    def __call__(self, designs: Sequence[Design]) -> Estimates:
        """See `Together`."""
        assert self.levels is not None
        Y = np.array([design.y for design in designs], float)
        data, space, held = self.carrier.none, self.space, self.space.held_sd
        hill = GaussianReplicates(self.levels, self.carrier, self.charts, Y, self.reml, held)
        is_few = data.plan.num_effects <= MOST_EFFECTS or data.n <= FEW_ROWS
        tops, resting = highest(
            hill.look,
            self.charts,
            np.tile(self.start, (len(Y), 1)),
            data.n,
            thorough=is_few,
            further=tuple(map(self.charts.start, LARGE_SDS)) if data.n <= FEW_ROWS else (),
        )
        solved = hill.solve(tops.coordinates, np.arange(len(Y)))
        variances = hill.variances(solved)
        factors = hill.factors(tops.coordinates)
        inverse = np.linalg.inv(data.R) if data.R.size else data.R
        beta = hill.responses.ols + solved.gamma @ inverse.T
        spread = inverse @ np.linalg.inv(solved.information) @ inverse.T
        covariances = variances[:, None, None] * (factors @ factors.transpose(0, 2, 1))
        values = reported(space, beta, covariances, np.sqrt(variances)[:, None])
        return Estimates(
            values=values,
            stderr=np.sqrt(variances[:, None] * np.einsum("app->ap", spread)),
            logliks=hill.values(solved),
            singular=np.atleast_1d(resting.any(axis=1)),
            found=tops.found & solved.has_digits,
        )


def exactly_together(fit: FittedModel, carrier: Carrier) -> Together | None:
    """The fits of a Gaussian model to several responses; None where they have to be made one by one."""
    found = ExactTogether(fit, carrier)
    return found if found.serves else None


def reported(space: ParamSpace, beta: Floats, covariances: Floats, own: Floats) -> Floats:
    """(m, d) parameters as they are reported.

    Args:
      space: the parameter space.
      beta: (m, p) fixed effects.
      covariances: (m, k, k) of the effects of all terms together.
      own: (m, v) the family's own parameters on their natural scale.
    """
    parts, place = [beta], 0
    for term in space.terms:
        k = len(term.columns)
        here = covariances[:, place : place + k, place : place + k]
        parts.append(_of_term(term.structure, here))
        place += k
    scale = space.own.scale
    parts += [np.array([space.own.to_report(scale.to_free(one)) for one in own])]
    return np.hstack([part.reshape(len(beta), -1) for part in parts])


def _of_term(structure: Structure, covariances: Floats) -> Floats:
    """(m, t) standard deviations and correlations of covariances (m, k, k) that are linear in their factors."""
    k = covariances.shape[1]
    sds = np.sqrt(np.einsum("maa->ma", covariances))
    if structure.correlations == "none":
        return np.asarray(sds[:, : structure.num_sds(k)])
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = [covariances[:, i, j] / (sds[:, i] * sds[:, j]) for i, j in below_diagonal(k)]
    return np.column_stack([sds, *pairs])
