"""A factor of M that is at hand, held to M by products with a few vectors: other algebra than that it came by.

Of z = L^-T v, z'Mz = v'v where L is right, and log |M| = log |L L'| + the mean of z'Mz - v'v where it is nearly
so, to first order. Whether the inverse of the rest is that of its factor is asked of the same vectors. A wrong
matrix passes with probability zero, and what passes is right to rounding.

References: Freivalds (1977), Information Processing 77, 839-842, for the test of a product;
Hutchinson (1990), Commun. Stat. Simul. 19(2), for the trace by random signs.
"""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.factor import Factor
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats

PROBES, SEED = 4, 20261129
# Differences, as shares of a vector's size, that are rounding.
ROUNDING = 1e-8


def log_det_by_products(factor: Factor) -> float | None:
    """log |M| by products with M, where the factor and its inverse are M's.

    Args:
      factor: of M, with the inverse of the rest's block worked out.
    Returns:
      log |M|; None where the factor, or the inverse that came with it, is not that of M.
    """
    plan, lambdas = factor.plan, factor.lambdas
    signs = np.random.default_rng(SEED).choice((-1.0, 1.0), size=(plan.num_effects, PROBES))
    z = factor.solve_upper(signs)
    outward = factor.products.times(apply_lambda(plan, lambdas, z))
    times = z + apply_lambda(plan, lambdas, outward, transpose=True)
    missed = np.einsum("qm,qm->m", z, times) - plan.num_effects
    back = factor.solve_lower(times) - signs
    size = np.sqrt(plan.num_effects)
    # One by one: squares of what is far off are not to be compared, nor what is not a number.
    if not (np.linalg.norm(back, axis=0) <= ROUNDING * size).all():
        return None
    if plan.rest and not _is_inverse(factor, signs[plan.lead_size :]):
        return None
    return factor.log_det + float(missed.mean())


def _is_inverse(factor: Factor, signs: Floats) -> bool:
    below = factor.rest_inverse_below
    columns = factor.rest @ (factor.rest.T @ signs)
    found = below @ columns + below.T @ columns - np.diag(below)[:, None] * columns
    distance = np.linalg.norm(found - signs, axis=0)
    return bool((distance <= ROUNDING * np.sqrt(len(signs))).all())
