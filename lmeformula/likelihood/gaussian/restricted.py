"""The restricted likelihood as the likelihood of contrasts: what fixed effects' columns leave of all others.

Where sigma is a tiny share of the effects, or effects go along with fixed ones, |V| and |X'V^-1 X| run apart
without limit, and their product has no digits. Contrasts have no fixed effects, and keep theirs.

References: Searle, Casella, McCulloch (1992), Variance Components, section 6.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.small import DenseProducts
from lmeformula.arrays import Floats, Mask
from lmeformula.likelihood.gaussian.from_residuals import JUDGED, Rows
from lmeformula.likelihood.gaussian.information import observed_information
from lmeformula.likelihood.gaussian.likelihood import solve_exactly_quickly
from lmeformula.likelihood.gaussian.posterior import fixed_information
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.model.params import ParamSpace

# Largest number of elements of Z, which is dense after the projection.
MOST_DENSE = 1_000_000


def restricted(data: Sums) -> Sums | None:
    """Take the fixed effects' columns out of the others.

    Args:
      data: cross products of the design.
    Returns:
      Cross products without fixed effects, whose likelihood is the restricted one of `data`; `products`, of
      which nothing is read beside a dense matrix, are those of `data`. None where there are no fixed effects,
      or too many random ones for dense products.
    """
    rows, plan = data.rows_here, data.plan
    q, p = data.ZQ.shape
    if data.dense is None or p == 0 or data.n * q > MOST_DENSE:
        return None
    Z = rows.spread(plan, np.eye(q))
    for _ in range(2):  # once more for the digits
        Z = Z - rows.Q @ (rows.Q.T @ Z)
    matrices = tuple(sp.csr_array(Z[:, plan.place(j)]) for j in range(len(plan.sizes)))
    return data._replace(
        # What related levels have of independent effects is in these columns.
        plan=plan._replace(relations=()).with_matrices(matrices),
        ZQ=np.zeros((q, 0)),
        Zy=Z.T @ rows.residual,
        R=np.zeros((0, 0)),
        ols=np.zeros(0),
        n=data.n - p,
        log_weights=data.log_weights - 2.0 * float(np.log(np.abs(np.diag(data.R))).sum()),
        rows=Rows(rows.Q[:, :0], rows.residual, None, rows.size),
        dense=DenseProducts(Z.T @ Z, data.dense.places),
    )


def restricted_information(
    data: Sums,
    contrasts: Sums,
    space: ParamSpace,
    psi: Floats,
    free: Mask,
    turned: Callable[[tuple[Floats, ...]], tuple[Floats, ...]],
    ways: Floats | None = None,
) -> Floats:
    """(d, d) observed information of the restricted likelihood; as `information.observed_information`.

    Args:
      data: cross products, from which the fixed effects' own block comes.
      contrasts: the same without fixed effects.
      space, psi, free, turned, ways: as there.
    """
    p, sigma = space.num_fixed, space.residual_sd(psi)
    lambdas = turned(tuple(factor / sigma for factor in space.factors(psi)))
    whole = np.zeros((space.size, space.size))
    whole[p:, p:] = observed_information(
        contrasts,
        replace(space, fixed_names=()),
        psi[p:],
        free[p:],
        solve_exactly_quickly(contrasts, lambdas, JUDGED),
        turned=turned,
        ways=None if ways is None else ways[p:, p:],
    )
    whole[:p, :p] = fixed_information(data, solve_exactly_quickly(data, lambdas), sigma)
    whole[~free], whole[:, ~free] = 0.0, 0.0
    return whole
