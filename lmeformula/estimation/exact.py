"""Gaussian models, exactly: with a residual, or without."""

from __future__ import annotations

from lmeformula.em.types import Options
from lmeformula.estimation.gaussian import estimate_with_residual
from lmeformula.estimation.no_residual import estimate_without_residual
from lmeformula.fit import FittedModel
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.model.compile import Model
from lmeformula.model.params import Params


def estimate_exact(
    model: Model,
    reml: bool,
    solver: str = "direct",
    seed: int = 0,
    options: Options | None = None,
    *,
    data: Sums | None = None,
    start: Params | None = None,
) -> FittedModel:
    """Maximise the likelihood, or the restricted one, of a Gaussian model; see `estimate_with_residual`."""
    if model.space.has_no_residual:
        return estimate_without_residual(model, reml, data=data, start=start)
    if model.space.has_known_scale:
        # Neither sigma nor covariances relative to it have a best value in closed form.
        from lmeformula.estimation.posterior_mode import estimate_exactly

        return estimate_exactly(model, reml, seed, Options() if options is None else options)
    return estimate_with_residual(model, reml, solver, seed, options, data=data, start=start)
