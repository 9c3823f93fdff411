"""A fit's model with responses drawn anew at the same parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.meetings import find_meetings
from lmeformula.fit import FittedModel
from lmeformula.inference.refit import has_estimates
from lmeformula.likelihood.laplace.modes import arrays_of, conditional, mode_at
from lmeformula.model.bounds import off_bounds
from lmeformula.prediction.simulate import responses, sampler_of, with_drawn
from lmeformula.watch import step_of

# What a step is for who watches.
REDRAWN = "drawn responses"


def redrawn(fit: FittedModel, count: int, seed: int) -> Iterator[FittedModel]:
    """Fits of drawn responses in which the parameters are not estimated again: only the modes of effects are.

    Effects and responses are drawn from the model at its estimates. Draws at which no mode can be found, which
    are those of a model that says next to nothing, are left out, and so are those that lack a category.

    Args:
      fit: a fitted model with its rows, not of normal rows and with normal effects.
      count: how many responses to draw.
      seed: of the draws.
    """
    space, plan = fit.model.space, layout(fit.model.stack.terms)
    psi, _ = off_bounds(space, space.to_free(fit.params))
    factorize = find_meetings(plan).factorize
    for drawn in responses(sampler_of(fit), count, seed):
        step_of(REDRAWN)
        changed = with_drawn(fit, drawn)
        if not has_estimates(fit, changed):
            continue
        model = replace(fit.model, design=changed)
        arrays = arrays_of(model, plan, factorize)
        try:
            mode = mode_at(model, arrays, psi, np.zeros(plan.num_effects))
        except np.linalg.LinAlgError:
            continue
        modes, mode_cov = conditional(mode.factor, mode.u)
        yield replace(fit, model=model, modes=modes, mode_cov=mode_cov, method="laplace")
