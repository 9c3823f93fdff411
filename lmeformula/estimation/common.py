"""What the methods share: standard errors on the reporting scale, draws that are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmeformula.em.types import Solution
from lmeformula.fit import Watched
from lmeformula.model.compile import Model

Floats = NDArray[np.float64]

# Draws of the first levels of each term are kept for trace plots.
WATCHED_LEVELS = 8
# A standard deviation at its boundary, relative to that of the rows, where its logarithm is needed.
BOUNDARY_SD = 1e-6


def report_stderr(
    model: Model,
    psi: Floats,
    information: Floats,
    inside: NDArray[np.bool_],
    fixed_vcov: Floats,
) -> Floats:
    """Standard errors on the reporting scale, by the delta method; nan outside."""
    space = model.space
    stderr = np.full(space.size, np.nan)
    jacobian = space.report_jacobian(psi)[np.ix_(inside, inside)]
    covariance = jacobian @ np.linalg.inv(information[np.ix_(inside, inside)]) @ jacobian.T
    stderr[inside] = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    # The fixed effects' as lme4 has them, from their own block.
    stderr[: space.num_fixed] = np.sqrt(np.diag(fixed_vcov))
    return stderr


def watch(
    model: Model, starts: tuple[int, ...]
) -> tuple[tuple[tuple[str, str, str], ...], tuple[int, ...]]:
    """Names and positions of the effects whose draws are kept."""
    names, positions = [], []
    for term, start in zip(model.design.terms, starts, strict=True):
        k = len(term.columns)
        for level, label in enumerate(term.levels[:WATCHED_LEVELS]):
            for a, column in enumerate(term.columns):
                names.append((term.name, label, column))
                positions.append(start + level * k + a)
    return tuple(names), tuple(positions)


def watched_draws(names: tuple[tuple[str, str, str], ...], solution: Solution) -> Watched | None:
    """The draws that the engine kept, or None where it took none."""
    return Watched(names, solution.draws) if solution.draws.size else None


def report_mc_error(model: Model, psi: Floats, solution: Solution) -> Floats:
    """(d,) Monte Carlo standard errors on the reporting scale."""
    jacobian = model.space.report_jacobian(psi)
    return np.sqrt(np.diag(jacobian @ solution.mc_covariance @ jacobian.T))
