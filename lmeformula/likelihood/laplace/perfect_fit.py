"""Tell before an ascent whether a model meets its responses exactly, so that their likelihood has no limit.

Where the responses of more rows than there are random effects are what predictors give, an own parameter, such
as the shape of a gamma distribution, runs off and takes the likelihood along. An ascent that follows it loses
its digits on the way. With the parameter held near there, the rest has estimates.

Reference: Fong, Saunders (2011), LSMR: an iterative algorithm for sparse least-squares problems, SIAM Journal
on Scientific Computing 33, 2950-2971.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import lsmr

from lmeformula.algebra.crossproducts import layout
from lmeformula.arrays import Floats
from lmeformula.design.absent import has_rows
from lmeformula.family.limit import Limit
from lmeformula.family.runaway import Met
from lmeformula.likelihood.laplace.limits import AtLimit
from lmeformula.model.compile import Model

# Some steps of least squares that leave more than this of the responses have not met them.
ROUGHLY, FEW_STEPS = 1e-3, 60
# A matrix of so few numbers is decomposed for least squares at once, one of so many after such steps; of larger
# ones more steps are taken.
QUICK, MOST_DENSE, MOST_STEPS = 50_000, 2_000_000, 5_000
# The spread that an own parameter is held at: its square is what estimates are off by.
HELD_AT = 1e-4
# What stands for infinity.
ENDLESS = 1e10


class Known(NamedTuple):
    """Responses that are met exactly.

    Attributes:
      met: what is left of them.
      held: the family's own parameters, the one that runs off near its limit, the others where they start.
    """

    met: Met
    held: tuple[AtLimit, ...]


def met_by_design(model: Model) -> Known | None:
    """Whether fixed and random effects give the responses to all digits that the density has.

    Args:
      model: the model.
    Returns:
      What is known then; None where they do not, and for families of which that is no matter, or that have
      predictors of own parameters.
    """
    runaways, own = model.family.base.runaways, model.space.own
    running = next((one for one in runaways if one.is_met), None)
    if running is None or model.family.is_distributional or running.name not in own.names:
        return None
    if not has_rows(model.design):
        # Rows with workers are not solved with: what is met exactly is found out at the end.
        return None
    assert running.linear is not None
    assert running.stand_in is not None
    response = model.family.response(model.design)
    target = running.linear(response) - model.stack.offset
    if not np.isfinite(target).all():
        return None
    left = _left(model, target)
    if left is None or not left < running.least:
        return None
    stand_ins = {
        running.name: (running.stand_in(response, HELD_AT), running.limit),
        running.beside: (ENDLESS, math.inf),
    }
    held = []
    for place, (name, start) in enumerate(zip(own.natural_names, own.start, strict=True)):
        value, limit = stand_ins.get(name, (float(start), float(start)))
        if name in own.names:
            held.append(AtLimit(place, value, _nowhere(name, limit)))
    return Known(running.known(left), tuple(held))


def _nowhere(name: str, value: float) -> Limit:
    """A limit that is not tried, as it is known."""
    return Limit(name, value, "", lambda response: value, lambda response: value)


def _left(model: Model, target: Floats) -> float | None:
    """Root mean square of what least squares leave of (n,) predictors; None where that is much."""
    plan = layout(model.stack.terms)
    Z = sp.hstack(plan.matrices, format="csr")
    norms = np.sqrt(np.asarray(Z.multiply(Z).sum(axis=0))).ravel()
    Z = Z @ sp.diags_array(1.0 / np.where(norms > 0.0, norms, 1.0))
    (n, q), most = Z.shape, model.design.num_observations
    if most <= q and (n * q > MOST_DENSE or np.linalg.matrix_rank(Z.toarray()) >= most):
        # Effects alone account for whatever the responses are.
        return None
    columns = sp.hstack([sp.csr_array(model.stack.orthogonal()[0]), Z], format="csr")
    size = float(np.linalg.norm(target))
    if size == 0.0:
        return 0.0
    numbers = columns.shape[0] * columns.shape[1]
    if numbers > QUICK:
        rough = lsmr(columns, target, atol=0.0, btol=0.1 * ROUGHLY, maxiter=FEW_STEPS)[3]
        if not rough < ROUGHLY * size:
            return None
    if numbers <= MOST_DENSE:
        dense = columns.toarray()
        residual = target - dense @ np.linalg.lstsq(dense, target, rcond=None)[0]
    else:
        found = lsmr(columns, target, atol=0.0, btol=1e-15, conlim=0.0, maxiter=MOST_STEPS)[0]
        residual = target - columns @ found
    return float(np.sqrt(np.mean(residual**2)))
