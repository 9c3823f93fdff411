"""Result stage: tests by scores: what a further column, or a correlation of neighbours, would add to a model.

At the modes of the effects the rows' scores are s = P z for working responses z with the covariance
V = W^-1 + Z Psi Z', and P = V^-1 - V^-1 X C X'V^-1, where C is the covariance of the fixed effects. A further
column x has the score x's, whose variance is x'P x. Products of neighbours' scores are compared with those of
drawn responses, of which the same P is taken: so what fitting does to neighbours is in both.

References: Rao (1948), Proc. Camb. Phil. Soc. 44, 50-57, for score tests; Durbin, Watson (1950), Biometrika 37,
409-428, and Jacqmin-Gadda, Commenges (1995), JASA 90, 1237-1246, for correlations left among residuals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from lmeformula.algebra.crossproducts import cross_products, layout
from lmeformula.algebra.factor import factorize
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.fit import FittedModel
from lmeformula.result.check_groups import Scores
from lmeformula.result.check_test import Doubt
from lmeformula.result.equations import Equations, has_equations, with_location
from lmeformula.result.parameter_errors import has_location, location_covariance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# As many columns are tried for a curve, and no columns with as few different values.
MOST_COLUMNS, FEWEST_VALUES = 30, 3
# A square of which the model leaves less than this share is in the model.
LEAST_SHARE = 1e-6
# Neighbours that say anything about their correlation.
FEWEST_PAIRS = 20
# Draws of the scores of normal rows, and numbers that are held at a time.
FEWEST_DRAWS, MOST_DRAWS, MOST_NUMBERS = 20, 100, 2**23


class Projected(NamedTuple):
    """What takes working responses to scores.

    Attributes:
      solved: the mixed-model equations.
      weights: (n,) W.
      X: (n, p) fixed columns, with one for the location of thresholds.
    """

    solved: Equations
    weights: Floats
    X: Floats

    def given(self, weighted: Floats) -> Floats:
        """(n, c) P z, from W z (n, c)."""
        found = self._inverse(weighted)
        across = self.solved.fixed_vcov @ (self.X.T @ found)
        return np.asarray(found - self._inverse(self.weights[:, None] * (self.X @ across)))

    def _inverse(self, weighted: Floats) -> Floats:
        """V^-1 z, from W z."""
        effects = self.solved.collected(weighted)
        plan = self.solved.factor.plan
        moved = sum(plan.matrices[j] @ effects[plan.place(j)] for j in range(len(plan.sizes)))
        return np.asarray(weighted - self.weights[:, None] * np.asarray(moved))


def score_doubts(fit: FittedModel, scores: Scores, seed: int) -> Iterator[Doubt]:
    """Columns whose square is missing, and neighbouring rows that are alike; where the equations can be solved.

    Args:
      fit: a fitted model with its rows.
      scores: of the rows.
      seed: of drawn responses.
    """
    if not has_equations(fit):
        return
    vcov = location_covariance(fit) if has_location(fit) else fit.fixed_vcov
    plan = layout(fit.model.stack.terms)
    lambdas = tuple(cholesky_semidefinite(covariance) for covariance in fit.params.covariances)
    # Variances of the scores under the model: the curvature of a row goes with its score in some families, such
    # as the gamma, and what is divided by it would not be like what is drawn.
    factor = factorize(plan, cross_products(plan, scores.weights), lambdas)
    solved = Equations(factor, np.zeros((0, 0)), vcov, fit.params.covariances, 1.0)
    projected = Projected(solved, scores.weights, with_location(fit.model.design.X, len(vcov)))
    for doubt in (_curvature(fit, scores, projected), _neighbours(fit, scores, projected, seed)):
        if doubt is not None:
            yield doubt


def _curvature(fit: FittedModel, scores: Scores, projected: Projected) -> Doubt | None:
    """The square of a numeric column: the one that would add most, times the number of those tried."""
    design = fit.model.design
    columns = [
        k for k in range(design.X.shape[1]) if len(np.unique(design.X[:, k])) >= FEWEST_VALUES
    ][:MOST_COLUMNS]
    if not columns:
        return None
    centred = design.X[:, columns] - design.X[:, columns].mean(axis=0)
    squares = (centred / centred.std(axis=0)) ** 2
    weighted = projected.weights[:, None] * squares
    variances = (squares * projected.given(weighted)).sum(axis=0)
    whole = (squares * weighted).sum(axis=0)
    tried = np.flatnonzero(variances > LEAST_SHARE * whole)
    if not len(tried):
        return None
    z = (squares.T @ scores.first)[tried] / np.sqrt(variances[tried])
    best = int(np.argmax(np.abs(z)))
    name = design.names[columns[tried[best]]]
    return Doubt(
        "curvature",
        min(1.0, len(tried) * 2.0 * float(scipy.stats.norm.sf(abs(z[best])))),
        float(z[best]),
        f"the response bends {'up' if z[best] > 0 else 'down'} along {name}: its square would have a z of "
        f"{z[best]:.1f}",
        f"Add a curve: poly({name}, 2), or ns({name}, 4); or transform the column.",
    )


def _neighbours(fit: FittedModel, scores: Scores, projected: Projected, seed: int) -> Doubt | None:
    """Rows that follow each other, in the data or among those of a level, and are alike, or apart."""
    pairs = _pairs(fit)
    if not pairs:
        return None
    size = np.sqrt(np.where(projected.weights > 0.0, projected.weights, np.inf))
    observed = scores.first / size
    drawn = _drawn(fit, scores, projected, seed) / size[:, None]
    found = []
    for where, (left, right) in pairs.items():
        products = (drawn[left] * drawn[right]).sum(axis=0)
        beyond = float((observed[left] * observed[right]).sum() - products.mean())
        count = len(products)
        spread = float(products.std(ddof=1)) * np.sqrt(1.0 + 1.0 / count)
        scale = float(np.mean(observed**2)) * len(left)
        if spread > 0.0 and scale > 0.0:
            chance = 2.0 * float(scipy.stats.t.sf(abs(beyond) / spread, count - 1))
            found.append((chance, beyond / scale, where))
    if not found:
        return None
    chance, correlation, where = min(found)
    return Doubt(
        "autocorrelation",
        min(1.0, len(found) * chance),
        correlation,
        f"rows next to each other {where} are {'alike' if correlation > 0 else 'apart'} beyond what the model "
        f"says: a correlation of {correlation:.2g}",
        "If their order is that of time, model it: a trend, a slope that varies, or effects of time that are "
        "correlated, ar1(0 + factor(time) | g).",
    )


def _pairs(fit: FittedModel) -> dict[str, tuple[Ints, Ints]]:
    """Places of rows and of those that follow them: in the order of the data, and within levels."""
    n = fit.model.design.n
    found = {"in the data": (np.arange(n - 1), np.arange(1, n))}
    for block in fit.model.design.terms:
        if not 1 < len(block.levels) < n:
            continue
        order = np.argsort(block.index, kind="stable")
        same = block.index[order][1:] == block.index[order][:-1]
        found.setdefault(f"within {block.group}", (order[:-1][same], order[1:][same]))
    return {where: pair for where, pair in found.items() if len(pair[0]) >= FEWEST_PAIRS}


def _drawn(fit: FittedModel, scores: Scores, projected: Projected, seed: int) -> Floats:
    """(n, m) scores of drawn responses, with effects drawn, too, and fitted again to first order."""
    design = fit.model.design
    random = np.random.default_rng([seed, 5])
    count = int(np.clip(MOST_NUMBERS // design.n, FEWEST_DRAWS, MOST_DRAWS))
    if len(scores.drawn):
        noise = scores.drawn[:count].T
    else:
        sds = np.sqrt(projected.weights)
        noise = sds[:, None] * random.standard_normal((design.n, count))
    moved = np.zeros(noise.shape)
    for block, covariance in zip(design.terms, fit.params.covariances, strict=True):
        root = cholesky_semidefinite(covariance)
        for k in range(len(block.columns)):
            # One coefficient of all levels at a time; those of a level share the noise behind them.
            if k == 0:
                standard = random.standard_normal((len(block.levels), noise.shape[1], len(root)))
            moved += block.values[:, k, None] * (standard @ root[k])[block.index]
    return projected.given(noise + projected.weights[:, None] * moved)
