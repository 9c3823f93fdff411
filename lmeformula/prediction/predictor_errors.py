"""Errors of predictors that are a normal one and Student's t ones added up.

A t error of scale s and df degrees of freedom is normal with variance s^2 / w, w of mean one and gamma with
shape df / 2. So the sum is a mixture of normals, over the weights: by the trapezoidal rule in log w, which
converges geometrically, its distribution function, its density, and means over it are sums of normal ones.

References: Andrews, Mallows (1974), J. R. Stat. Soc. B 36, 99-102, of scale mixtures of normals; Trefethen,
Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56, 385-458.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from lmeformula.arrays import Floats, Mask
from lmeformula.design.design import Design, NewRows
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.intervals import cutoff
from lmeformula.prediction.normal_posterior import of_unseen

# Widest steps in log w, and in standard deviations of it; and the chance that is left out beyond the first and
# the last: for one t error, and for each of several, whose nodes multiply.
STEPS, IN_SDS, LEFT_OUT = (0.4, 0.5), (0.8, 1.1), (1e-13, 1e-10)
# More t errors than this have too many nodes together.
MOST_ERRORS = 2
# Nodes of means over predictors lie this far apart, in scales of the error and on the scale of the links:
# evenly up to so many scales, and then in equal ratios.
SPACING, EVEN = 0.3, 10.0
# How small the chance beyond the last node is times what grows out there.
NOTHING = 1e-13
# Where it shows how fast a mean grows.
FAR = 1e100
# Numbers evaluated at a time.
CHUNK = 1_000_000
# Of the interval in logarithms that a quantile lies in, less than four.
HALVINGS = 44


class PredictorErrors(NamedTuple):
    """Independent errors of predictors, which add up: a normal one, and some by Student's t.

    Attributes:
      variances: (...) of the normal one.
      scales: (J, ...) of the others; zero where there is none.
      freedom: (J,) their degrees of freedom.
    """

    variances: Floats
    scales: Floats
    freedom: tuple[float, ...]

    @property
    def has_t(self) -> Mask:
        """(...) where there is an error by Student's t."""
        return np.asarray((self.scales > 0.0).any(axis=0))

    def at(self, part: slice | Mask) -> PredictorErrors:
        """Those of some rows."""
        return PredictorErrors(self.variances[part], self.scales[:, part], self.freedom)


def with_unseen(fit: FittedModel, rows: Design | NewRows, variances: Floats) -> PredictorErrors:
    """Errors of rows (n,), with the t errors that effects of levels that a fit has not seen have.

    Args:
      fit: a fitted model.
      rows: fitted or new rows.
      variances: (n,) of all normal errors, those of unseen levels included; see `unseen_covariances`.
    Raises:
      ModelError: where rows have more t errors than can be added up.
    """
    scales, freedom = [], []
    for block, prior in zip(rows.terms, fit.params.distributions, strict=True):
        if prior.is_normal:
            continue
        each = of_unseen(block, prior.scale, rows.num_predictors)[:, 0, 0]
        if each.any():
            scales.append(np.sqrt(each))
            freedom.append(prior.df)
    if len(freedom) > MOST_ERRORS:
        raise ModelError(
            f"rows have unseen levels of more than {MOST_ERRORS} terms by Student's t distribution",
            hint='Draw from them: fit.simulate(1000, newdata=..., new_levels="sample").',
        )
    return PredictorErrors(variances, np.array(scales).reshape(-1, len(variances)), tuple(freedom))


def weights_of(df: float, fineness: int) -> tuple[Floats, Floats]:
    """Nodes w and their chances, of the gamma distribution with mean one and shape df / 2.

    Args:
      df: degrees of freedom.
      fineness: 0 for the finest rule, 1 for one of fewer nodes.
    """
    shape = 0.5 * df
    step = min(STEPS[fineness], IN_SDS[fineness] / math.sqrt(shape))
    low = math.log(scipy.special.gammaincinv(shape, LEFT_OUT[fineness]) / shape)
    high = math.log(scipy.special.gammainccinv(shape, LEFT_OUT[fineness]) / shape)
    at = np.linspace(low, high, math.ceil((high - low) / step) + 1)
    logs = shape * (at - np.exp(at))
    chances = np.exp(logs - logs.max())
    return np.exp(at), chances / chances.sum()


def normals(errors: PredictorErrors) -> Iterator[tuple[float, Floats]]:
    """The normals that errors are a mixture of: the chance and the variances (...) of each.

    Args:
      errors: of any shape.
    """
    fineness = int(len(errors.freedom) > 1)
    rules = [zip(*weights_of(df, fineness), strict=True) for df in errors.freedom]
    for nodes in itertools.product(*rules):
        variances, chance = errors.variances, 1.0
        for scale, (weight, share) in zip(errors.scales, nodes, strict=True):
            variances = variances + scale**2 / weight
            chance *= float(share)
        yield chance, variances


def half_widths(errors: PredictorErrors, level: float) -> Floats:
    """(...) how far from the middle errors stay with a chance of `level`.

    Args:
      errors: of any shape.
      level: the chance.
    Example:
      >>> import numpy as np, scipy.stats
      >>> one = PredictorErrors(np.zeros(1), np.array([[2.0]]), (3.0,))
      >>> bool(abs(half_widths(one, 0.9)[0] - 2.0 * scipy.stats.t(3.0).ppf(0.95)) < 1e-6)
      True
    """
    found = cutoff(level) * np.sqrt(errors.variances)
    has_t = errors.has_t
    if has_t.any():
        found[has_t] = _quantiles(errors.at(has_t), level)
    return np.asarray(found)


def _quantiles(errors: PredictorErrors, level: float) -> Floats:
    """(n,) by halving in logarithms, between the quantile of the greatest error and a bound by all of them."""
    tail, sd = 0.5 * (1.0 - level), np.sqrt(errors.variances)
    share = tail / (len(errors.freedom) + 1)
    alone, bounds = [-sd * scipy.special.ndtri(tail)], [-sd * scipy.special.ndtri(share)]
    for scale, df in zip(errors.scales, errors.freedom, strict=True):
        alone.append(-scale * scipy.special.stdtrit(df, tail))
        bounds.append(-scale * scipy.special.stdtrit(df, share))
    # Of independent symmetric errors with one mode the sum is farther out than any (Anderson's theorem).
    low, high = np.log(np.max(alone, axis=0)) - 1e-6, np.log(np.sum(bounds, axis=0)) + 1e-6
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        at = np.exp(middle)
        beyond = sum(
            chance * scipy.special.ndtr(-at / np.sqrt(variances))
            for chance, variances in normals(errors)
        )
        low, high = np.where(beyond > tail, middle, low), np.where(beyond > tail, high, middle)
    return np.asarray(np.exp(0.5 * (low + high)))


def means_over(errors: PredictorErrors, eta: Floats, work: Callable[[Floats], Floats]) -> Floats:
    """(n, c) means of what is worked out of predictors, over their errors.

    A mean that grows too fast for the tails is infinite, as that of exp(t) is for any degrees of freedom; where
    it would be of either sign it is nan.

    Args:
      errors: of n rows, each of which has t errors.
      eta: (n,) the predictors without errors.
      work: predictors (r,) -> (r, c).
    """
    order, endless = _growth(work)
    df = min(errors.freedom)
    known = order < df
    if not known.any():
        return np.tile(endless, (len(eta), 1))
    whole = np.sqrt(errors.variances + (errors.scales**2).sum(axis=0))
    step = SPACING * min(1.0, 1.0 / float(whole.max())) / EVEN
    # Times what grows by a power, the tails are those of so many fewer degrees of freedom.
    farthest = -scipy.special.stdtrit(df - order[known].max(), NOTHING)
    reach = math.asinh(min(FAR, float(np.nan_to_num(farthest, nan=FAR))) / EVEN)
    count = math.ceil(reach / step)
    at = EVEN * np.sinh(np.arange(-count, count + 1) * (reach / count))
    found = np.empty((len(eta), len(order)))
    size = max(1, CHUNK // len(at))
    for start in range(0, len(eta), size):
        part = slice(start, start + size)
        shares = _shares(errors.at(part), whole[part], at)
        with np.errstate(over="ignore", invalid="ignore"):
            values = work((eta[part] + whole[part] * at[:, None]).ravel())
        each = np.where(known, values, 0.0).reshape(len(at), -1, len(order))
        found[part] = np.einsum("mn,mnc->nc", shares, each)
    return np.where(known, found, endless)


def _shares(errors: PredictorErrors, whole: Floats, at: Floats) -> Floats:
    """(m, n) the chances of nodes `at`, in scales of the rows; they add up to one."""
    density = np.zeros((len(at), len(whole)))
    if len(errors.freedom) == 1 and not errors.variances.any():
        density += scipy.stats.t(errors.freedom[0]).pdf(at)[:, None]
    else:
        for chance, variances in normals(errors):
            sds = np.sqrt(variances) / whole
            density += chance / sds * np.exp(-0.5 * (at[:, None] / sds) ** 2)
    shares = density * np.sqrt(EVEN**2 + at**2)[:, None]
    return np.asarray(shares / shares.sum(axis=0))


def _growth(work: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """(c,) powers of the predictor by which values grow far out, and the infinities that they grow to."""
    powers, signs = [], []
    for side in (-FAR, FAR):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            near, far = np.abs(work(np.array([side, 2.0 * side])))
            power = np.maximum(np.log2(far / np.maximum(near, 1.0)), 0.0)
            sign = np.sign(work(np.array([2.0 * side]))[0])
        powers.append(np.where(np.isfinite(far), power, np.inf))
        signs.append(sign)
    (low, high), (below, above) = powers, signs
    sign = np.where(low > high, below, np.where(high > low, above, 0.5 * (below + above)))
    return np.maximum(low, high), np.where(sign == 0.0, np.nan, sign) * np.inf
