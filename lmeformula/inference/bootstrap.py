"""Intervals by the parametric bootstrap, refits to responses drawn from the fitted model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.estimation.dispatch import estimate
from lmeformula.estimation.student_effects import is_heavy
from lmeformula.estimation.student_maximum import heavy_range, heavy_units, maximise
from lmeformula.fit import FittedModel
from lmeformula.inference.refit import check_refit, refit_exactly
from lmeformula.likelihood.laplace.fit import Care, fit_laplace
from lmeformula.prediction.distribution import is_normal
from lmeformula.prediction.intervals import chosen, interval_frame
from lmeformula.prediction.parameters import parameters
from lmeformula.prediction.simulate import responses, sampler_of, with_drawn
from lmeformula.startup import import_tensorflow

# A design with another response -> its estimates as they are reported, or None where there are none.
Refit = Callable[[Design], Floats | None]

FEWEST, MOST = 100, 1_000_000
# What stands for infinite values among others, and above what a quantile has come from them.
ENDLESS, BEYOND = 1e300, 1e100
# The Monte Carlo error of a refit, in standard errors: it widens the spread of all by half of its square.
REFIT_TOLERANCE = 0.1


class Bootstrap(NamedTuple):
    """Estimates from responses that a fitted model drew.

    Attributes:
      names: (d) names of the parameters.
      values: (m, d) their estimates, on the reporting scale.
      num_lost: further responses that could not be fitted, or whose fit did not converge.
      is_interrupted: whether the user stopped it.
    """

    names: tuple[str, ...]
    values: Floats
    num_lost: int
    is_interrupted: bool


@kinds.takes(
    parm=kinds.optional(kinds.names),
    level=kinds.coverage,
    num_refits=kinds.whole(FEWEST, MOST),
    seed=kinds.seed,
)
def bootstrap_intervals(
    fit: FittedModel,
    parm: Sequence[str] | str | None = None,
    level: float = 0.95,
    *,
    num_refits: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Intervals between quantiles of the estimates from responses that the fitted model draws.

    Effects and responses are drawn anew each time; the ends are the quantiles themselves (R's "perc"). An
    interrupt from the keyboard ends it early, with the refits that there are.

    Args:
      fit: a fitted model.
      parm: parameter names, one or several; all by default.
      level: coverage.
      num_refits: how many responses to draw.
      seed: of the draws.
    Returns:
      frame: parameter, estimate, lower, upper, note.
    Raises:
      ModelError: for too few refits, a level or parameter that does not exist, or a fit by the iterative
        solver.
      KeyboardInterrupt: if there are too few refits yet for quantiles of that level.
    References:
      Davison, Hinkley (1997), Bootstrap Methods and their Application, section 5.3.
    """
    places = chosen(fit, parm)
    found = bootstrap(fit, num_refits, seed=seed)
    num_done = len(found.values)
    # Fewer than this, and no estimate is expected beyond each end.
    if num_done < math.ceil(2.0 / (1.0 - level)):
        if found.is_interrupted:
            raise KeyboardInterrupt
        raise ModelError(
            f"only {num_done} of {num_refits} drawn responses could be fitted",
            hint='The data say too little for this model; use method="wald" or "profile".',
        )
    tail = 0.5 * (1.0 - level)
    # Degrees of freedom may be infinite, between which there is nothing to interpolate.
    values = np.where(np.isinf(found.values), ENDLESS, found.values)
    quantiles = np.nanquantile(values, [tail, 1.0 - tail], axis=0)
    quantiles = np.where(quantiles > BEYOND, np.inf, quantiles)
    lower, upper = quantiles[:, places]
    notes = []
    if found.num_lost:
        notes.append(f"{found.num_lost} of {num_done + found.num_lost} refits did not converge")
    if found.is_interrupted:
        notes.append(f"interrupted after {num_done + found.num_lost} of {num_refits} refits")
    rows = parameters(fit)
    ends = list(zip(map(float, lower), map(float, upper), strict=True))
    return interval_frame([rows[place] for place in places], ends, ["; ".join(notes)] * len(places))


@kinds.takes(num_refits=kinds.whole(1, MOST), seed=kinds.seed)
def bootstrap(fit: FittedModel, num_refits: int = 500, *, seed: int = 0) -> Bootstrap:
    """Refit a model to responses that it draws at its estimates.

    Gaussian models are refitted exactly, by REML where the fit was; others by the Laplace approximation. For a
    Monte Carlo fit the approximation's error is taken from the data: all refits are moved by how far its
    estimates are from those of the fit. Models with effects by Student's t whose effects are in
    blocks of one or two, as those of one factor, are refitted from the estimates at hand, by quadrature: some
    seconds for each. All others are refitted by Monte Carlo EM from its own start, which takes about as long as
    the fit did for each. An interrupt ends it with what there is.

    Args:
      fit: a fitted model.
      num_refits: how many responses to draw.
      seed: of the draws, and of Monte Carlo refits.
    Returns:
      The estimates; those of the refits so far after an interrupt from the keyboard.
    Raises:
      ModelError: for a fit by the iterative solver, or one that was loaded without its rows.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> bootstrap(fit, 20).values.shape
      (20, 3)
    """
    if not fit.is_factored:
        raise ModelError(
            "no bootstrap of a model fitted by the iterative solver",
            hint='It would be refitted hundreds of times; use method="wald".',
        )
    found: list[Floats] = []
    num_lost, is_interrupted = 0, False
    try:
        with one_blas_thread():
            again, moved = _how(fit, seed)
            for drawn in responses(sampler_of(fit), num_refits, seed):
                values = again(with_drawn(fit, drawn))
                if values is None:
                    num_lost += 1
                else:
                    found.append(values)
    except KeyboardInterrupt:
        is_interrupted = True
    values = np.array(found).reshape(len(found), len(fit.param_names))
    if found and moved is not None:
        bounds = np.array([one.bounds for one in parameters(fit)])
        values = np.clip(values - moved, *bounds.T)
    return Bootstrap(fit.param_names, values, num_lost, is_interrupted)


def _how(fit: FittedModel, seed: int) -> tuple[Refit, Floats | None]:
    """How to refit, and (d,) by how much all refits are moved."""
    if is_heavy(fit.model):
        return _with_heavy_tails(fit, seed), None
    return _exactly(fit) if is_normal(fit.model.family) else _by_laplace(fit)


def _with_heavy_tails(fit: FittedModel, seed: int) -> Refit:
    import_tensorflow()
    from lmeformula.sampling.student_problem import HeavyModel
    from lmeformula.sampling.student_quadrature import heavy_likelihood

    model, space = fit.model, fit.model.space
    start, within = space.to_free(fit.params), heavy_range(fit)
    unit = heavy_units(fit)
    is_small = heavy_likelihood(HeavyModel(model)) is not None
    options = Options(tolerance=REFIT_TOLERANCE)

    def again(design: Design) -> Floats | None:
        changed = replace(model, design=design)
        try:
            check_refit(fit, design)
        except (FormulaDataError, ModelError):
            return None
        if is_small:
            likelihood = heavy_likelihood(HeavyModel(changed))
            assert likelihood is not None
            top = maximise(likelihood, start, unit, within)
            return space.to_report(top.psi) if top.converged else None
        found = estimate(changed, method="mcem", seed=seed, options=options)
        if found.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        return found.param_values if found.converged else None

    return again


def _exactly(fit: FittedModel) -> tuple[Refit, Floats | None]:
    def again(design: Design) -> Floats | None:
        found = refit_exactly(fit, replace(fit.model, design=design))
        return found.param_values if found.converged else None

    return again, None


def _by_laplace(fit: FittedModel) -> tuple[Refit, Floats | None]:
    """How to refit, and (d,) the error of that for the fit's own response, if the fit does not share it."""
    model = fit.model
    care = Care(looks_far=fit.has_modes)
    first = fit_laplace(model, care=care)
    # On a boundary there is no direction to go.
    start = None if first.singular else first.coordinates

    def again(design: Design) -> Floats | None:
        changed = replace(model, design=design, known_start=first.params)
        try:
            check_refit(fit, design)
        except (FormulaDataError, ModelError):
            # A constant, or a category that was not drawn: this response has no estimates.
            return None
        found = fit_laplace(changed, start=start, care=care)
        if not found.converged:
            return None
        return model.space.to_report(model.space.to_free(found.params))

    if not fit.is_drawn:
        return again, None
    return again, model.space.to_report(model.space.to_free(first.params)) - fit.param_values
