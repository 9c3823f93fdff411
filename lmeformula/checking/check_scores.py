"""Tests by scores: what a further column, or a correlation of neighbours, would add to a model.

At the modes of the effects the rows' scores are s = P z for working responses z with the covariance
V = W^-1 + Z Psi Z', and P = V^-1 - V^-1 X C X'V^-1, where C is the covariance of the fixed effects. A further
column x has the score x's, whose variance is x'P x. Products of neighbours' scores are compared with those of
drawn responses, of which the same P is taken: so what fitting does to neighbours is in both.

References: Rao (1948), Proc. Camb. Phil. Soc. 44, 50-57, for score tests; Durbin, Watson (1950), Biometrika 37,
409-428, and Jacqmin-Gadda, Commenges (1995), JASA 90, 1237-1246, for correlations left among residuals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from lmeformula.arrays import Floats, Ints
from lmeformula.checking.check_groups import Scores
from lmeformula.checking.finding import Finding
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.fit import FittedModel
from lmeformula.prediction.normal_points import row_roots
from lmeformula.prediction.normal_posterior import NormalPosterior, factored
from lmeformula.prediction.posterior import has_normal_posterior

# As many columns are tried for a curve, and no columns with as few different values.
MOST_COLUMNS, FEWEST_VALUES = 30, 3
# A square of which the model leaves less than this share is in the model.
LEAST_SHARE = 1e-6
# Neighbours that say anything about their correlation.
FEWEST_PAIRS = 20
# Draws of the scores of normal rows, and numbers that are held at a time.
FEWEST_DRAWS, MOST_DRAWS, MOST_NUMBERS = 20, 100, 2**23


class Projected(NamedTuple):
    """What takes working responses to scores, of n rows and K predictors one after the other.

    Attributes:
      posterior: of the effects.
      weights: (n, K, K) W.
      X: (K n, p) fixed columns, with one for the location of thresholds.
    """

    posterior: NormalPosterior
    weights: Floats
    X: Floats

    def given(self, weighted: Floats) -> Floats:
        """(K n, c) P z, from W z (K n, c)."""
        found = self._inverse(weighted)
        across = self.posterior.fixed_vcov @ (self.X.T @ found)
        return np.asarray(found - self._inverse(self.times(self.X @ across)))

    def times(self, z: Floats) -> Floats:
        """(K n, c) W z."""
        n, k, _ = self.weights.shape
        each = np.einsum("nab,bnc->anc", self.weights, z.reshape(k, n, -1))
        return np.asarray(each.reshape(k * n, -1))

    def _inverse(self, weighted: Floats) -> Floats:
        """V^-1 z, from W z."""
        plan, size = self.posterior.plan, len(weighted)
        # The rows of pairs of predictors are there for the weights alone.
        read = np.zeros((plan.matrices[0].shape[0], weighted.shape[1]))
        read[:size] = weighted
        effects = self.posterior.collected(read)
        moved = plan.spread(effects)
        return np.asarray(weighted - self.times(np.asarray(moved)[:size]))


def score_tests(fit: FittedModel, scores: Scores, seed: int) -> Iterator[Finding]:
    """Columns whose square is missing, columns of other predictors, and neighbouring rows that are alike.

    Where the equations can be solved.

    Args:
      fit: a fitted model with its rows.
      scores: of the rows.
      seed: of drawn responses.
    """
    if not has_normal_posterior(fit):
        return
    projected, size = projection(fit, scores), fit.model.design.n * fit.model.design.num_predictors
    one = scores._replace(first=scores.first[:size], drawn=scores.drawn[:, :size])
    tests = (
        _curvature(fit, one, projected),
        _lacking(fit, one, projected),
        _neighbours(fit, one, projected, seed),
    )
    yield from filter(None, tests)


def projection(fit: FittedModel, scores: Scores) -> Projected:
    """What takes working responses of a fit's rows to scores.

    Args:
      fit: a fitted model with its rows.
      scores: of the rows, of which the variances are taken.
    """
    size = fit.model.design.n * fit.model.design.num_predictors
    # Variances of the scores under the model: the curvature of a row goes with its score in some families, such
    # as the gamma, and what is divided by it would not be like what is drawn.
    posterior = factored(fit, scores.weights)
    weights = fit.model.stack.mixture.to_blocks(scores.weights)
    return Projected(posterior, weights, posterior.X[:size])


def _curvature(fit: FittedModel, scores: Scores, projected: Projected) -> Finding | None:
    """The square of a numeric column: the one that would add most, times the number of those tried."""
    design = fit.model.design
    columns = [
        k for k in range(design.X.shape[1]) if len(np.unique(design.X[:, k])) >= FEWEST_VALUES
    ][:MOST_COLUMNS]
    if not columns:
        return None
    centred = design.X[:, columns] - design.X[:, columns].mean(axis=0)
    squares = (centred / centred.std(axis=0)) ** 2
    of = [design.column_predictors[k] for k in columns]
    names = [design.names[k] for k in columns]
    found = _best(scores, projected, squares, of)
    if found is None:
        return None
    chance, z, best = found
    name, predictor = names[best], of[best]
    what = "the response bends" if predictor == 0 else f"{design.predictors[predictor].name} bends"
    bare = design.predictors[predictor].bare(name)
    return Finding(
        "curvature",
        chance,
        z,
        f"{what} {'up' if z > 0 else 'down'} along {bare}: its square would have a z of {z:.1f}",
        f"Add a curve: poly({bare}, 2), or ns({bare}, 4); or transform the column.",
    )


def _lacking(fit: FittedModel, scores: Scores, projected: Projected) -> Finding | None:
    """A column of one predictor's formula that another's lacks, where there are several."""
    design = fit.model.design
    every = {
        name: part.design.X[:, k]
        for part in design.predictors
        for k, name in enumerate(part.design.names)
    }
    lacked = [
        (name, place, (column - column.mean()) / column.std())
        for place, part in enumerate(design.predictors)
        for name, column in every.items()
        if name not in part.design.names and np.ptp(column) > 0.0
    ]
    if not lacked:
        return None
    names, of, columns = zip(*lacked[:MOST_COLUMNS], strict=True)
    found = _best(scores, projected, np.column_stack(columns), of)
    if found is None:
        return None
    chance, z, best = found
    name, which = names[best], design.predictors[of[best]].name
    return Finding(
        "columns",
        chance,
        z,
        f"{which} goes {'up' if z > 0 else 'down'} with {name}, which its formula lacks: a z of {z:.1f}",
        f"Give the formula of {which} that column.",
    )


def _best(
    scores: Scores, projected: Projected, columns: Floats, of: Sequence[int]
) -> tuple[float, float, int] | None:
    """Of the column (n, c) that would add most to its predictor: its chance, times those tried, z, place."""
    n, k, _ = projected.weights.shape
    values = np.zeros((k, *columns.shape))
    for place, predictor in enumerate(of):
        values[predictor, :, place] = columns[:, place]
    values = values.reshape(k * n, -1)
    weighted = projected.times(values)
    variances = (values * projected.given(weighted)).sum(axis=0)
    tried = np.flatnonzero(variances > LEAST_SHARE * (values * weighted).sum(axis=0))
    if not len(tried):
        return None
    z = (values.T @ scores.first)[tried] / np.sqrt(variances[tried])
    best = int(np.argmax(np.abs(z)))
    chance = min(1.0, len(tried) * 2.0 * float(scipy.stats.norm.sf(abs(z[best]))))
    return chance, float(z[best]), int(tried[best])


def _neighbours(
    fit: FittedModel, scores: Scores, projected: Projected, seed: int
) -> Finding | None:
    """Rows that follow each other, in the data or among those of a level, and are alike, or apart."""
    pairs = _pairs(fit)
    if not pairs:
        return None
    n, k, _ = projected.weights.shape
    own = np.einsum("nkk->kn", projected.weights)
    size = np.sqrt(np.where(own > 0.0, own, np.inf))
    each = scores.first.reshape(k, n) / size
    every = _drawn(fit, scores, projected, seed).reshape(k, n, -1) / size[:, :, None]
    found = []
    for predictor, (observed, drawn) in enumerate(zip(each, every, strict=True)):
        for where, (left, right) in pairs.items():
            products = (drawn[left] * drawn[right]).sum(axis=0)
            beyond = float((observed[left] * observed[right]).sum() - products.mean())
            count = len(products)
            spread = float(products.std(ddof=1)) * np.sqrt(1.0 + 1.0 / count)
            scale = float(np.mean(observed**2)) * len(left)
            if spread > 0.0 and scale > 0.0:
                chance = 2.0 * float(scipy.stats.t.sf(abs(beyond) / spread, count - 1))
                found.append((chance, beyond / scale, where, predictor))
    if not found:
        return None
    chance, correlation, where, predictor = min(found)
    of = f", in {fit.model.design.predictors[predictor].name}," if predictor else ""
    return Finding(
        "autocorrelation",
        min(1.0, len(found) * chance),
        correlation,
        f"rows next to each other {where} are{of} {'alike' if correlation > 0 else 'apart'} beyond what "
        f"the model says: a correlation of {correlation:.2g}",
        "If their order is that of time, model it: a trend, a slope that varies, or effects of time that are "
        "correlated, ar1(0 + factor(time) | g).",
    )


def _pairs(fit: FittedModel) -> dict[str, tuple[Ints, Ints]]:
    """Places of rows and of those that follow them: in the order of the data, and within levels."""
    n = fit.model.design.n
    found = {"in the data": (np.arange(n - 1), np.arange(1, n))}
    for block in fit.model.design.terms:
        if not 1 < len(block.levels) < n or block.shares is not None:
            continue
        order = np.argsort(block.index, kind="stable")
        same = block.index[order][1:] == block.index[order][:-1]
        found.setdefault(f"within {block.group}", (order[:-1][same], order[1:][same]))
    return {where: pair for where, pair in found.items() if len(pair[0]) >= FEWEST_PAIRS}


def _drawn(fit: FittedModel, scores: Scores, projected: Projected, seed: int) -> Floats:
    """(n, m) scores of drawn responses, with effects drawn, too, and fitted again to first order."""
    design, (n, k, _) = fit.model.design, projected.weights.shape
    random = np.random.default_rng([seed, 5])
    count = int(np.clip(MOST_NUMBERS // (k * n), FEWEST_DRAWS, MOST_DRAWS))
    if len(scores.drawn):
        noise = scores.drawn[:count].T
    else:
        standard = random.standard_normal((k * n, count)).reshape(k, n, count)
        noise = np.einsum("nab,bnc->anc", row_roots(projected.weights), standard)
        noise = noise.reshape(k * n, count)
    moved = np.zeros((k, n, noise.shape[1]))
    for block, covariance in zip(design.terms, fit.params.covariances, strict=True):
        root = cholesky_semidefinite(covariance)
        for place in range(len(block.columns)):
            # One coefficient of all levels at a time; those of a level share the noise behind them.
            if place == 0:
                standard = random.standard_normal((len(block.levels), noise.shape[1], len(root)))
                if block.relation is not None:
                    standard = block.relation.outward(standard)
            each = block.of_rows(standard @ root[place])
            predictor = block.predictors[place]
            moved[predictor] += block.values[:, place, None] * each
    return projected.given(noise + projected.times(moved.reshape(k * n, -1)))
