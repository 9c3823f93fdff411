"""Cross products by dense algebra, of which nobody says where elements meet."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import CrossProducts, Layout
from lmeformula.algebra.probes import Signs


def random_signs(plan: Layout, count: int, seed: int) -> np.ndarray:
    """(r, count) probes for a design whose columns have no names but their places."""
    names = (tuple(f"{j}, {a}" for a in range(k)) for j, (_, k) in enumerate(plan.sizes))
    return Signs(plan, tuple(names)).draw(count, seed)


def plain_products(plan: Layout, weights: np.ndarray | None) -> CrossProducts:
    """Z'WZ in blocks, without what is zero by chance."""
    Z = np.hstack([plan.matrices[j].toarray() for j in (plan.lead, *plan.rest)])
    whole = Z.T @ (Z if weights is None else weights[:, None] * Z)
    size, (levels, k) = plan.lead_size, plan.sizes[plan.lead]
    each = np.arange(levels)
    lead = whole[:size, :size].reshape(levels, k, levels, k)[each, :, each, :]
    return CrossProducts(lead, sp.csr_array(whole[:size, size:]), whole[size:, size:])
