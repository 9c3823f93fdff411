"""Result stage: what a fit would predict of each row had it not seen that row, without refitting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.fit import FittedModel
from lmeformula.result.averaged import clouds, moved_means
from lmeformula.result.equations import Equations, equations, has_equations
from lmeformula.result.level_posterior import LevelNodes, level_nodes
from lmeformula.result.normal_points import normal_rule
from lmeformula.result.predictive_density import row_log_density
from lmeformula.result.predictor import family_values, linear_predictor
from lmeformula.result.several_predictors import need_one_predictor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The least share of a predictor's precision that the other rows are left with.
LEAST_SHARE = 1e-8
# Points of smaller chances do not count where what is averaged is costly.
LEAST_CHANCE = 1e-7
# Nodes over the errors of the parameters.
PARAMETER_NODES = 3
NO_NODES = np.zeros((1, 0))
NO_NODES.flags.writeable = False


class LeftOut(NamedTuple):
    """Linear predictors of the rows, each given all rows but itself.

    Attributes:
      eta: (n,) means.
      variances: (n,) of fixed and random effects together.
      nodes: (m, n) points of each predictor, in its standard deviations from its mean; () where it is normal.
      weights: (m, n) their chances, which add up to one for each row.
      errors: (n,) variances by the errors of the parameters: about as much a yes in place of a no moves the
        predictor of a row, through the estimates.
    """

    eta: Floats
    variances: Floats
    nodes: Floats = NO_NODES
    weights: Floats = NO_NODES
    errors: Floats = NO_NODES[0]

    def points(self) -> Iterator[tuple[Floats, Floats]]:
        """Predictors (n,) and their chances (n,), for averages over what is smooth in them."""
        sds = np.sqrt(self.variances)
        if self.nodes.size:
            nodes, weights = self.nodes, self.weights
        else:
            nodes, weights = (each[:, None] for each in normal_rule(float(sds.max(initial=0.0))))
        for node, weight in zip(nodes, weights, strict=True):
            yield self.eta + sds * node, weight + np.zeros(len(sds))

    def pairs(self, size: int) -> Iterator[tuple[Ints, Floats, Floats]]:
        """Rows with a predictor and its chance, some at a time: all points that count, of all rows."""
        some: list[tuple[Ints, Floats, Floats]] = []
        for eta, weights in self.points():
            rows = np.flatnonzero(weights > LEAST_CHANCE)
            some.append((rows, eta[rows], weights[rows]))
            if sum(len(part[0]) for part in some) > size:
                yield _joined(some)
                some = []
        if some:
            yield _joined(some)


def _joined(some: list[tuple[Ints, Floats, Floats]]) -> tuple[Ints, Floats, Floats]:
    rows, eta, weights = (np.concatenate(part) for part in zip(*some, strict=True))
    return rows, eta, weights


def leave_one_out(fit: FittedModel) -> LeftOut:
    """Take each row's own contribution out of the distribution of its linear predictor.

    Where one grouping factor has all effects, the distribution of a row's predictor is known by points (see
    `lmeformula.result.level_posterior`), and the row's density is taken out of their chances. Elsewhere the
    predictor is normal given the data (approximately so for other families than the Gaussian), and so is the
    row's likelihood near it: the quotient of the two is what the other rows say. Variances and other parameters
    stay at the estimates of all rows.

    Args:
      fit: a fitted model with its rows.
    Returns:
      Means and variances; exact for Gaussian models.
    Raises:
      ModelError: for a model whose equations are too large to be factored.
    References:
      Vehtari, Mononen, Tolvanen, Sivula, Winther (2016), Bayesian leave-one-out cross-validation
      approximations for Gaussian latent variable models, J. Mach. Learn. Res. 17(103), 1-38, sections 3 and 4.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> found, seen = leave_one_out(fit), fit.fitted()
      >>> y = fit.model.design.y
      >>> bool((abs(y - found.eta) > abs(y - seen)).all())
      True
    """
    need_one_predictor(fit, "leave-one-out predictions", 'Look at fit.residuals("quantile").')
    design, solved = fit.model.design, equations(fit)
    nodes = level_nodes(fit)
    if nodes is not None:
        return _at_points(fit, nodes, solved)
    eta = linear_predictor(fit, design)
    with one_blas_thread():
        variances = solved.variances(design, parameters=True, effects=True, new_levels=False)
    first, second = _slopes(fit, eta)
    left = np.maximum(1.0 + variances * second, LEAST_SHARE)
    moved = _moved_without(fit, solved, variances) / left
    with one_blas_thread():
        given = solved.variances(design, parameters=False, effects=True, new_levels=False)
    return LeftOut(
        eta - variances * first / left + moved,
        variances / left,
        errors=np.maximum(variances - given, 0.0),
    )


def _moved_without(fit: FittedModel, solved: Equations, variances: Floats) -> Floats:
    """(n,) how far means of predictors are from their modes, by the other rows' third derivatives."""
    moved, thirds = moved_means(fit, solved, fit.model.design)
    return moved - 0.5 * variances**2 * thirds


def _at_points(fit: FittedModel, nodes: LevelNodes, solved: Equations) -> LeftOut:
    design, family, own = fit.model.design, fit.model.family, family_values(fit)
    response = family.response(design)
    n = design.n
    eta, variances = np.zeros(n), np.zeros(n)
    standard, weights, errors = [], [], np.zeros(n)
    for cloud in clouds(fit, design, nodes, solved, PARAMETER_NODES):
        rows = tuple(array[cloud.rows] for array in response)
        logs = row_log_density(family, rows, own, cloud.eta.T).T
        # A row that is impossible at a point has no chance there with the others either.
        with np.errstate(divide="ignore"):
            chance = np.where(np.isfinite(logs), np.log(cloud.weights) - logs, -np.inf)
        mass = np.exp(chance - chance.max(axis=0))
        mass /= mass.sum(axis=0)
        mean = (mass * cloud.eta).sum(axis=0)
        variance = (mass * (cloud.eta - mean) ** 2).sum(axis=0)
        eta[cloud.rows], variances[cloud.rows], errors[cloud.rows] = mean, variance, cloud.errors
        standard.append((cloud.eta - mean) / np.sqrt(np.maximum(variance, 1e-300)))
        weights.append(mass)
    return LeftOut(eta, variances, np.hstack(standard), np.hstack(weights), errors)


def has_leave_one_out(fit: FittedModel) -> bool:
    """Whether `leave_one_out` has an answer for this model."""
    return has_equations(fit) and not fit.model.family.predictors


def _slopes(fit: FittedModel, eta: Floats) -> tuple[Floats, Floats]:
    """(n,) first and second derivatives of the rows' log density."""
    family, own = fit.model.family, family_values(fit)
    response = family.response(fit.model.design)
    if family.is_normal:
        precision = response[1] / own[0] ** 2
        return precision * (response[0] - eta), -precision
    from lmeformula.laplace.rows import form_of  # may start TensorFlow

    form = form_of(family, response)
    rows = form.slopes(eta, response, own)
    return rows.first, rows.second
