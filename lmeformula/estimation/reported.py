"""Parameters of fits to many responses as they are reported."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import Structure, below_diagonal
from lmeformula.model.params import ParamSpace


def reported(space: ParamSpace, beta: Floats, covariances: Floats, own: Floats) -> Floats:
    """(m, d) parameters as they are reported.

    Args:
      space: the parameter space.
      beta: (m, p) fixed effects.
      covariances: (m, k, k) of the effects of all terms together.
      own: (m, v) the family's own parameters on their natural scale.
    """
    parts, place = [beta], 0
    for term in space.terms:
        k = len(term.columns)
        here = covariances[:, place : place + k, place : place + k]
        parts.append(_of_term(term.structure, here))
        place += k
    scale = space.own.scale
    parts += [np.array([space.own.to_report(scale.to_free(one)) for one in own])]
    return np.hstack([part.reshape(len(beta), -1) for part in parts])


def _of_term(structure: Structure, covariances: Floats) -> Floats:
    """(m, t) standard deviations and correlations of covariances (m, k, k) that are linear in their factors."""
    k = covariances.shape[1]
    if structure.correlations == "known":
        return np.array([structure.to_report(structure.to_free(one), k) for one in covariances])
    sds = np.sqrt(np.einsum("maa->ma", covariances))
    if structure.correlations == "none":
        return np.asarray(sds[:, : structure.num_sds(k)])
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = [covariances[:, i, j] / (sds[:, i] * sds[:, j]) for i, j in below_diagonal(k)]
    return np.column_stack([sds, *pairs])
