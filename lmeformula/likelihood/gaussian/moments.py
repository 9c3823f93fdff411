"""A start for the optimiser: relative standard deviations from sums of squares of the level totals.

Henderson's first method. The squared residual totals of the levels of every coefficient have expectations that
are linear in all variances, with coefficients read off Z'WZ; correlations are left at zero, and of the fixed
effects only the direction that the totals know best is taken out. Of a term that is the only one their products
tell all of its covariance; balanced data have their maximum there.

References: Searle, Casella, McCulloch (1992), Variance Components, section 5.3.
"""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.crossproducts import CrossProducts
from lmeformula.algebra.general import Whole
from lmeformula.algebra.sparse_factor import SparseWhole
from lmeformula.arrays import Floats
from lmeformula.covariance.eigen import symmetric_eigen
from lmeformula.likelihood.gaussian.sums import Sums

# What a start must lie between, where the moments say otherwise or nothing.
LEAST, USUAL, MOST = 0.05, 0.4, 50.0
# Most coefficients of which all covariances are estimated together.
MOST_TOGETHER = 8


def moment_start(data: Sums, scales: tuple[Floats, ...], sigma: float | None) -> Floats:
    """Relative standard deviations of the terms, on the scale of their columns.

    Args:
      data: cross products.
      scales: (k,) root mean squares of the columns of each term.
      sigma: the residual sd if it is fixed, else None.
    Returns:
      (number of terms,) root mean squares over the coefficients of each term, within bounds.
    """
    if isinstance(data.products, SparseWhole):
        return np.full(len(scales), USUAL)
    variances = _moments(data)
    noise = variances[-1] if sigma is None else sigma**2
    starts, place = [], 0
    for scale in scales:
        own = variances[place : place + len(scale)] * scale**2
        place += len(scale)
        ratio = float(own.mean()) / noise if noise > 0 else np.inf
        usable = np.isfinite(ratio) and ratio > 0
        starts.append(np.clip(np.sqrt(ratio), LEAST, MOST) if usable else USUAL)
    return np.array(starts)


def covariance_start(
    data: Sums, root: Floats, sigma: float | None, reml: bool = False
) -> Floats | None:
    """A relative factor (k, k) of the only term's covariance.

    Args:
      data: cross products.
      root: (k, k) lower triangular B of the term's columns, those of Z B^-1 orthogonal and of unit size.
      sigma: the residual sd if it is fixed, else None.
      reml: without the bias that fixed effects make.
    Returns:
      The factor; None where there are other terms, too many coefficients, or the moments are no covariance that
      is well inside: then each coefficient starts alike.
    """
    k, p = len(root), len(data.ols)
    if data.plan.rest or data.plan.is_general or max(k, p if reml else 0) > MOST_TOGETHER:
        return None
    assert isinstance(data.products, CrossProducts)
    back = np.linalg.inv(root)
    products = back.T @ data.products.lead @ back
    totals = data.Zy.reshape(-1, k) @ back
    # The sums over levels of t t' and of all squares are A G A + s^2 A and tr(A G) + s^2 n, on average.
    mean, pairs = products.sum(axis=0), np.einsum("lab,lcd->acbd", products, products)
    if reml:
        # Of A the fixed effects take C C' between all levels.
        taken = back.T @ data.ZQ.reshape(len(totals), k, p)
        own = taken @ taken.transpose(0, 2, 1)
        crossed = np.einsum("lab,lcd->acbd", products, own)
        between = np.einsum("lap,lcq->acpq", taken, taken).reshape(k * k, p * p)
        pairs += (between @ between.T).reshape(pairs.shape)
        pairs -= crossed + crossed.transpose(1, 0, 3, 2)
        mean = mean - own.sum(axis=0)
    system = np.empty((k * k + 1, k * k + 1))
    system[:-1, :-1] = pairs.reshape(k * k, k * k)
    system[:-1, -1] = system[-1, :-1] = mean.ravel()
    system[-1, -1] = data.freedom(reml)
    squares = np.append((totals.T @ totals).ravel(), data.yy)
    try:
        found = np.linalg.solve(system, squares)
    except np.linalg.LinAlgError:
        return None
    noise = float(found[-1]) if sigma is None else sigma**2
    if not (np.isfinite(found).all() and noise > 0.0):
        return None
    relative = found[:-1].reshape(k, k) / noise
    values = symmetric_eigen(0.5 * (relative + relative.T))[0]
    if not (values[0] > LEAST**2 and values[-1] < MOST**2):
        return None
    return np.asarray(back @ np.linalg.cholesky(0.5 * (relative + relative.T)))


def _moments(data: Sums) -> Floats:
    """(m + 1,) unbiased estimates, not always positive, of the m coefficients' variances and sigma^2."""
    plan, products = data.plan, data.products
    assert isinstance(products, CrossProducts | Whole)
    counts = [k for _, k in plan.sizes]
    m = sum(counts)
    first = np.cumsum([0, *counts])
    owner = plan.join(
        tuple(
            np.tile(np.arange(start, start + k), (levels, 1))
            for start, (levels, k) in zip(first[:-1], plan.sizes, strict=True)
        )
    )
    member = (owner[:, None] == np.arange(m)).astype(float)
    diagonal = products.diagonal
    share = member / np.where(diagonal > 0, diagonal, np.inf)[:, None]
    spread = products.squared().times(member)
    # The direction of the fixed effects in which the totals vary most, as a rule the intercept.
    along = np.zeros(len(owner))
    if data.ZQ.shape[1]:
        _, directions = np.linalg.eigh(data.ZQ.T @ data.ZQ)
        along = data.ZQ @ directions[:, -1]
    mine = along[:, None] * member
    spread -= 2.0 * along[:, None] * products.times(mine)
    spread += np.outer(along**2, (mine**2).sum(axis=0))
    left = diagonal - along**2
    system = np.empty((m + 1, m + 1))
    system[:m, :m] = share.T @ spread
    system[:m, m] = share.T @ left
    system[m, :m] = left @ member
    system[m, m] = data.n - len(data.ols)
    totals = np.append(share.T @ data.Zy**2, data.yy)
    return np.asarray(np.linalg.lstsq(system, totals, rcond=None)[0], float)
