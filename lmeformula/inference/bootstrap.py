"""Intervals by the parametric bootstrap, refits to responses drawn from the fitted model."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.checkpoint.journal import kept_in
from lmeformula.design.design import Design
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.errors import ModelError
from lmeformula.estimation.continued import continued
from lmeformula.estimation.dispatch import estimate
from lmeformula.estimation.replicates import Together, exactly_together, marginally_together
from lmeformula.estimation.student_maximum import (
    likelihood_by_quadrature,
    maximise,
    student_range,
    student_units,
)
from lmeformula.fit import FittedModel, not_of_draws, of_observations
from lmeformula.inference.in_turn import Refit, in_turn, refit_of
from lmeformula.inference.refit import carrier_of, has_estimates, refit_alone, refit_exactly
from lmeformula.inference.refits import fits_together
from lmeformula.likelihood.laplace.fit import Care, fit_laplace
from lmeformula.prediction.intervals import chosen, interval_frame
from lmeformula.prediction.parameters import parameters
from lmeformula.prediction.simulate import responses, sampler_of, with_drawn
from lmeformula.watch import watched

# A design with another response -> what its fit found.
Alone = Callable[[Design], Refit]

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
    checkpoint=kinds.optional(kinds.path),
)
@not_of_draws("bootstrap intervals")
def bootstrap_intervals(
    fit: FittedModel,
    parm: Sequence[str] | str | None = None,
    level: float = 0.95,
    *,
    num_refits: int = 500,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
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
      checkpoint: see `bootstrap`.
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
    found = bootstrap(fit, num_refits, seed=seed, checkpoint=checkpoint)
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


@kinds.takes(
    num_refits=kinds.whole(1, MOST), seed=kinds.seed, checkpoint=kinds.optional(kinds.path)
)
@of_observations
def bootstrap(
    fit: FittedModel,
    num_refits: int = 500,
    *,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Bootstrap:
    """Refit a model to responses that it draws at its estimates.

    Models are refitted by the method of the fit, by REML where that was; many at once where `refit` does that.
    After Monte Carlo EM they are refitted by the Laplace approximation, whose error is taken from the data: all
    refits are moved by how far its estimates are from those of the fit. Those with effects by Student's t
    in blocks of one or two, as those of one factor, are refitted from the estimates at hand, by
    quadrature: some seconds for each. All others are refitted by Monte Carlo EM from its own start, which takes
    about as long as the fit did for each. An interrupt ends it with what there is.

    Args:
      fit: a fitted model.
      num_refits: how many responses to draw.
      seed: of the draws, and of Monte Carlo refits.
      checkpoint: a folder, which is made, for the refits that are done: killed at any moment, the call goes on
        from there when it is made again, and ends at the same bits. It is removed at the end; an interrupt
        leaves it.
    Returns:
      The estimates; those of the refits so far after an interrupt from the keyboard.
    Raises:
      ModelError: for a fit by the iterative solver, or one that was loaded without its rows.
      CheckpointError: if the checkpoint is of another call, damaged, or in use by another process.
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

    def designs() -> Iterator[Design]:
        nonlocal num_lost
        for drawn in responses(sampler_of(fit), num_refits, seed):
            design = with_drawn(fit, drawn)
            if has_estimates(fit, design):
                yield design
            else:
                num_lost += 1

    try:
        with (
            continued(checkpoint, "bootstrap", fit, num_refits=num_refits, seed=seed),
            one_blas_thread(),
            watched("bootstrap", num_refits, "refits") as watch,
        ):
            together, alone, shift = _refit_method(fit, seed)
            for one in in_turn(together, alone, designs(), with_errors=False):
                watch.step()
                if one.converged:
                    found.append(one.values)
                else:
                    num_lost += 1
    except KeyboardInterrupt:
        is_interrupted = True
    values = np.array(found).reshape(len(found), len(fit.param_names))
    if found and shift is not None:
        bounds = np.array([one.bounds for one in parameters(fit)])
        values = np.clip(values - shift, *bounds.T)
    return Bootstrap(fit.param_names, values, num_lost, is_interrupted)


def _refit_method(fit: FittedModel, seed: int) -> tuple[Together | None, Alone, Floats | None]:
    """How to refit several at once and one alone, and (d,) by how much all refits are moved."""
    if not fit.model.space.has_normal_priors:
        return None, _by_quadrature(fit) or partial(_by_monte_carlo, fit, seed=seed), None
    if fit.has_priors:
        # Side by side are likelihoods alone.
        return None, lambda design: refit_of(refit_alone(fit, design, seed=seed)), None
    if fit.model.family.is_normal:
        return exactly_together(fit, carrier_of(fit.model)), partial(_exactly, fit), None
    return _by_laplace(fit)


def _by_quadrature(fit: FittedModel) -> Alone | None:
    """Refits with effects by Student's t distribution; None where their blocks are too large."""
    space = fit.model.space
    start, within, unit = space.to_free(fit.params), student_range(fit), student_units(fit)
    if likelihood_by_quadrature(fit.model) is None:
        return None

    def refit(design: Design) -> Refit:
        likelihood = likelihood_by_quadrature(replace(fit.model, design=design))
        assert likelihood is not None
        top = maximise(likelihood, start, unit, within)
        return _estimates(space.to_report(top.psi), top.converged)

    return refit


def _by_monte_carlo(fit: FittedModel, design: Design, seed: int) -> Refit:
    model = replace(fit.model, design=design)
    found = estimate(model, method="mcem", seed=seed, options=Options(tolerance=REFIT_TOLERANCE))
    if found.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    return refit_of(found)


def _exactly(fit: FittedModel, design: Design) -> Refit:
    return refit_of(refit_exactly(fit, replace(fit.model, design=design)))


def _estimates(values: Floats, converged: bool) -> Refit:
    """Estimates (d,) alone, which are all that is asked for here."""
    outcome = Outcome.CONVERGED if converged else Outcome.OPTIMIZER_STALLED
    return Refit(values, np.zeros((0, 0)), math.nan, outcome, False)


def _by_laplace(fit: FittedModel) -> tuple[Together | None, Alone, Floats | None]:
    """How to refit, and (d,) the error of that for the fit's own response, if the fit does not share it."""
    space, care = fit.model.space, Care(looks_far=fit.has_modes, marginal=fit.marginal)
    if not fit.is_drawn:
        together = fits_together(fit)
        if together is not None:
            return together, lambda design: refit_of(refit_alone(fit, design, seed=0)), None
    with kept_in(None):
        first = fit_laplace(fit.model, care=care)
    together = marginally_together(fit.model, care, None if first.singular else first.params)
    # On a boundary there is no direction to go.
    start = None if first.singular else first.coordinates

    def refit(design: Design) -> Refit:
        model = replace(fit.model, design=design, known_start=first.params)
        found = fit_laplace(model, start=start, care=care)
        return _estimates(space.to_report(space.to_free(found.params)), found.converged)

    if not fit.is_drawn:
        return None, refit, None
    return together, refit, space.to_report(space.to_free(first.params)) - fit.param_values
