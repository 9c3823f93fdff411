"""What a fit would predict of each row had it not seen that row, without refitting."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from lmeformula.arrays import Floats, Ints
from lmeformula.checking.ending import endless
from lmeformula.errors import ModelError
from lmeformula.family import Family
from lmeformula.fit import FittedModel, of_observations
from lmeformula.prediction.averaged import Cloud, clouds
from lmeformula.prediction.level_posterior import LevelNodes, level_nodes, moved_means
from lmeformula.prediction.normal_points import normal_points, row_roots
from lmeformula.prediction.normal_posterior import NormalPosterior
from lmeformula.prediction.posterior import has_normal_posterior, normal_posterior_of
from lmeformula.prediction.predictive_density import row_log_density
from lmeformula.prediction.predictor import linear_predictor
from lmeformula.prediction.row_slopes import RowSlopes, row_slopes
from lmeformula.prediction.shared_residual import with_a_residual

# The least share of a predictor's precision that the other rows are left with.
LEAST_SHARE = 1e-8
# Points of smaller chances do not count where what is averaged is costly.
LEAST_CHANCE = 1e-7
# Nodes over the errors of the parameters.
PARAMETER_NODES = 3
# More points of rows, times the cube of the number of predictors, are too many: normal ones take their place.
MOST_POINTS = 2**28
NO_NODES = np.zeros((1, 0))
NO_NODES.flags.writeable = False


class LeftOut(NamedTuple):
    """Linear predictors of the rows, each given all rows but itself.

    Attributes:
      eta: (K, n) means.
      variances: (n, K, K) covariances of fixed and random effects together.
      nodes: (m, K, n) points of each predictor, in its standard deviations from its mean; () for a normal one.
      weights: (m, n) their chances, which add up to one for each row.
      errors: (n,) variances by the errors of the parameters: about as much a yes in place of a no moves the
        predictor of a row, through the estimates; of several predictors the largest.
      units: (n, K) of several predictors, in which the rows' distributions change smoothly with them.
    """

    eta: Floats
    variances: Floats
    nodes: Floats = NO_NODES
    weights: Floats = NO_NODES
    errors: Floats = NO_NODES[0]
    units: Floats | float = 1.0

    @property
    def num_rows(self) -> int:
        """n."""
        return int(self.eta.shape[-1])

    def points(self) -> Iterator[tuple[Floats, Floats]]:
        """Predictors like `eta` and their chances (n,), for averages over what is smooth in them."""
        if self.nodes.size:
            sds = self._sds()
            for node, chances in zip(self.nodes, self.weights, strict=True):
                yield self.eta + sds * node, chances
            return
        for there, weight in normal_points(self.eta, self.variances, self.units):
            yield there, np.full(self.num_rows, weight)

    def pairs(self, size: int) -> Iterator[tuple[Ints, Floats, Floats]]:
        """Rows with a predictor and its chance, some at a time: all points that count, of all rows."""
        some: list[tuple[Ints, Floats, Floats]] = []
        held = 0
        for eta, weights in self.points():
            rows = np.flatnonzero(weights > LEAST_CHANCE)
            some.append((rows, eta[..., rows], weights[rows]))
            held += len(rows)
            if held > size:
                yield _joined(some)
                some, held = [], 0
        if some:
            yield _joined(some)

    def drawn(self, count: int, random: np.random.Generator) -> Floats:
        """(m, K, n) predictors."""
        if self.nodes.size:
            # The first point whose chances with those before it come to a uniform number.
            n = self.num_rows
            sums, uniform = np.cumsum(self.weights, axis=0), random.uniform(size=(count, n))
            each = [np.searchsorted(sums[:-1, row], uniform[:, row]) for row in range(n)]
            at = np.array(each).T[:, None]
            return np.asarray(self.eta + self._sds() * np.take_along_axis(self.nodes, at, axis=0))
        noise = random.standard_normal((count, *self.eta.shape))
        return np.asarray(self.eta + np.einsum("nab,mbn->man", row_roots(self.variances), noise))

    def _sds(self) -> Floats:
        """Like `eta`, of each predictor."""
        return np.asarray(np.sqrt(np.einsum("nkk->kn", self.variances)))


def _joined(some: list[tuple[Ints, Floats, Floats]]) -> tuple[Ints, Floats, Floats]:
    rows, eta, weights = zip(*some, strict=True)
    return np.concatenate(rows), np.concatenate(eta, axis=-1), np.concatenate(weights)


@of_observations
def leave_one_out(fit: FittedModel) -> LeftOut:
    """Take each row's own contribution out of the distribution of its linear predictor.

    Where one grouping factor has all effects, the distribution of a row's predictor is known by points (see
    `lmeformula.prediction.level_posterior`), and the row's density is taken out of their chances. Elsewhere the
    predictor is normal given the data (approximately so for other families than the Gaussian), and so is the
    row's likelihood near it: the quotient of the two is what the other rows say. Several predictors of a row
    are jointly normal, and what is taken out is a matrix. Variances and other parameters stay at the estimates
    of all rows.

    Args:
      fit: a fitted model with its rows.
    Returns:
      Means and variances; exact for Gaussian models.
    Raises:
      ModelError: for a model whose equations are too large to be factored, or coefficients without a finite
        estimate, which have no errors to take a row's part out of.
    References:
      Vehtari, Mononen, Tolvanen, Sivula, Winther (2016), Bayesian leave-one-out cross-validation
      approximations for Gaussian latent variable models, J. Mach. Learn. Res. 17(103), 1-38, sections 3 and 4.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> found, seen = leave_one_out(fit), fit.fitted()
      >>> y = fit.model.design.y
      >>> bool((abs(y - found.eta[0]) > abs(y - seen)).all())
      True
    """
    lost = endless(fit)
    if lost:
        raise ModelError(
            f"{', '.join(lost[:6])} have no finite estimate: predictions without a row have no errors",
            hint="Leave such a column out, or join its category with another; fit.cross_validate() fits anew.",
        )
    fit, shared = with_a_residual(fit)
    design, posterior = fit.model.design, normal_posterior_of(fit)
    nodes = level_nodes(fit)
    if (
        nodes is not None
        and nodes.weights.shape[0] * design.n * design.num_predictors**3 <= MOST_POINTS
    ):
        return _at_points(fit, nodes, posterior)
    eta = linear_predictor(fit, design)
    spread = posterior.covariances(design)
    given = posterior.covariances(design, parameters=False)
    moved, thirds = moved_means(fit, posterior, design)
    found = _downdated(fit, eta, moved, thirds, spread, given)
    return found._replace(variances=found.variances + shared)


def _downdated(
    fit: FittedModel, eta: Floats, moved: Floats, thirds: Floats, spread: Floats, given: Floats
) -> LeftOut:
    """Normal predictors without what each row says of them.

    Args:
      fit: a fitted model.
      eta: (K, n) predictors at the modes.
      moved: (K, n) of their means from there.
      thirds: (n, K, K, K) third derivatives of the rows' log density.
      spread: (n, K, K) their covariances given all rows.
      given: (n, K, K) the same, the parameters known.
    """
    slopes = _slopes(fit, eta)
    roots = row_roots(spread)
    turned = roots.transpose(0, 2, 1)
    # In units of the predictors' spread the row has this curvature, and the other rows what is left of one.
    values, vectors = np.linalg.eigh(turned @ slopes.second @ roots)
    left = np.maximum(1.0 + values, LEAST_SHARE)
    axes = roots @ vectors
    without = (axes / left[:, None]) @ axes.transpose(0, 2, 1)
    # The other rows' third derivatives alone, and as the row's own curvature no longer holds the mean.
    pulled = 0.5 * np.einsum("nkab,nab->nk", thirds, spread)
    apart = moved.T - np.einsum("nab,nb->na", spread, pulled)
    held = np.einsum("nab,nbc,nc->na", without, slopes.second, apart)
    means = eta.T - np.einsum("nab,nb->na", without, slopes.first) + apart - held
    errors = np.maximum(np.einsum("nkk->nk", spread - given), 0.0).max(axis=1)
    return LeftOut(means.T, without, errors=errors, units=_units(fit, slopes.second))


def _units(fit: FittedModel, second: Floats) -> Floats:
    """(n, K) how far predictors move until a row's distribution is another one."""
    units = np.tile(fit.model.units, (len(second), 1))
    if fit.model.family.link == "identity":
        # As wide as the row's own density is.
        precision = -second[:, 0, 0]
        units[:, 0] = np.where(precision > 0.0, 1.0 / np.sqrt(np.abs(precision)), units[:, 0])
    return units


def _at_points(fit: FittedModel, nodes: LevelNodes, posterior: NormalPosterior) -> LeftOut:
    design, family, own = fit.model.design, fit.model.family, fit.params.own
    response = family.response(design)
    n, k = design.n, design.num_predictors
    eta, variances = np.zeros((k, n)), np.zeros((n, k, k))
    standard, weights, errors = [], [], np.zeros(n)
    for cloud in clouds(fit, design, nodes, posterior, PARAMETER_NODES):
        rows = tuple(array[cloud.rows] for array in response)
        mass = _without(cloud, functools.partial(_row_logs, family, rows, own))
        each = cloud.eta.reshape(len(mass), k, -1)
        mean = (mass[:, None] * each).sum(axis=0)
        away = each - mean
        spread = np.einsum("mr,mar,mbr->rab", mass, away, away)
        eta[:, cloud.rows], variances[cloud.rows] = mean, spread
        errors[cloud.rows] = cloud.errors
        standard.append(away / np.sqrt(np.maximum(np.einsum("rkk->kr", spread), 1e-300)))
        weights.append(mass)
    points = np.concatenate(standard, axis=-1)
    return LeftOut(eta, variances, points, np.hstack(weights), errors)


def _row_logs(family: Family, response: tuple[Floats, ...], own: Floats, eta: Floats) -> Floats:
    """(m, r) log densities of rows at points (m, K, r)."""
    return row_log_density(family, response, own, np.moveaxis(eta, 0, -1)).T


def _without(cloud: Cloud, logs_at: Callable[[Floats], Floats]) -> Floats:
    """(m, r) chances of the points of a cloud, given all rows but each itself.

    At the parameters as they are a point's chance has the row's density as a factor, which is taken out. What
    the other rows then say of the row is its density as the parameters move, and that is taken out of theirs:
    so no far point, where the row is next to impossible, is moved to where it is less so.
    """
    c, r = len(cloud.centres), cloud.weights.shape[1]
    shared = cloud.weights.reshape(c, -1, r)
    own = logs_at(cloud.centres)
    with np.errstate(divide="ignore"):
        # A row that is impossible at a point has no chance there with the others either.
        others = np.where(np.isfinite(own), np.log(shared.sum(axis=1)) - own, -np.inf)
        shares = np.log(shared.sum(axis=0))
    others -= logsumexp(others, axis=0)
    moved = np.nan_to_num(logs_at(cloud.eta), nan=-np.inf, posinf=-np.inf, neginf=-np.inf)
    density = logsumexp(others[:, None] + moved.reshape(c, -1, r), axis=0)
    found = others[:, None] + np.where(np.isfinite(density), shares - density, -np.inf)
    mass = np.exp(found - found.max(axis=(0, 1)))
    return np.asarray((mass / mass.sum(axis=(0, 1))).reshape(-1, r))


def has_leave_one_out(fit: FittedModel) -> bool:
    """Whether `leave_one_out` has an answer for this model."""
    return has_normal_posterior(fit) and not endless(fit)


def _slopes(fit: FittedModel, eta: Floats) -> RowSlopes:
    """First and second derivatives of the rows' log density."""
    family, own = fit.model.family, fit.params.own
    response = family.response(fit.model.design)
    if family.is_normal:
        precision = response[1] / own[0] ** 2
        first = precision * (response[0] - eta[0])
        return RowSlopes(first[:, None], -precision[:, None, None])
    return row_slopes(family, response)(eta, own)
