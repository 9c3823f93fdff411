"""The posterior distribution of parameters and effects, by the no-U-turn sampler that a Laplace fit starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats
from lmeformula.certificate import Certificate
from lmeformula.drawn import Draws, Effort
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.errors import ModelError
from lmeformula.estimation.evidence.posterior import (
    bfmi_of,
    certify_draws,
    effects_mixing,
    import_arviz,
    mixing_of,
    outcome_of,
)
from lmeformula.estimation.finish import Effects, Errors, finish
from lmeformula.fit import FittedModel
from lmeformula.history import LogLik, Seconds
from lmeformula.model.compile import Model
from lmeformula.model.default_priors import with_defaults
from lmeformula.model.params import Params
from lmeformula.model.priors import NO_PRIORS
from lmeformula.sampling.nuts.coordinates import Coordinates
from lmeformula.sampling.nuts.expansion import given_of
from lmeformula.sampling.nuts.log_prior import log_prior
from lmeformula.sampling.nuts.run import Run, sample
from lmeformula.sampling.nuts.target import Given, Metric, Target

# More numbers than this are not held of draws: parameters and effects, of all draws.
MOST_NUMBERS = 2**28
# Where a covariance is singular: its standard deviations start at this share of what the rows could show, and
# correlations so much nearer to none.
SHARE, NEARER = 0.5, 0.2
LEAST_EIGENVALUE = 0.02
# The standard deviation, on the unconstrained scale, of what the start has no standard error of.
UNKNOWN = 0.7
STEP = 1e-4
# By which the density may differ from the joint distribution's, of its size.
ROUNDING = 1e-8


def estimate_nuts(
    model: Model,
    seed: int,
    options: Options,
    effort: Effort | None,
    estimate: Callable[..., FittedModel],
) -> FittedModel:
    """Draw from the posterior distribution.

    Args:
      model: with the priors that were given; the others are the defaults.
      seed: of all random numbers.
      options: of the fit that it starts from.
      effort: how much to draw.
      estimate: fits models by other methods, to start from.
    Raises:
      MissingLibraryError: if ArviZ is not installed.
      ModelError: for more numbers than are held.
    """
    began = time.perf_counter()
    import_arviz()
    effort = effort or Effort()
    model = with_defaults(model)
    check_size(model, effort)
    start = start_of(model, seed, options, estimate)
    posterior = posterior_of(model, start)
    start_seconds = time.perf_counter() - began
    run = sample(posterior.target, posterior.given, effort, posterior.metric, seed)
    drawn = draws_of(posterior.target.coordinates, run, effort)
    total = time.perf_counter() - began
    seconds = Seconds(0.0, 0.0, total, start=start_seconds, iterations=total - start_seconds)
    certificate = certify_draws(drawn, model.space.names)
    outcome = outcome_of(certificate, was_interrupted=run.was_interrupted)
    return fit_of(model, drawn, seconds, "nuts", certificate, outcome)


def check_size(model: Model, effort: Effort) -> int:
    """The number of parameters and effects.

    Raises:
      ModelError: where all draws of them are more numbers than are held.
    """
    effects = sum(len(term.levels) * len(term.columns) for term in model.design.terms)
    size = effects + model.space.size
    numbers = size * effort.num_chains * effort.num_draws
    if numbers > MOST_NUMBERS:
        raise ModelError(
            f"{effort.num_chains} chains of {effort.num_draws:,} draws of {effects:,} effects are "
            f"{numbers:,} numbers",
            hint=f"Take num_draws={MOST_NUMBERS // (numbers // effort.num_draws)} or fewer.",
        )
    return size


class Posterior(NamedTuple):
    """A posterior density, ready to be drawn from.

    Attributes:
      target: the density.
      given: what it is of.
      metric: where to start, and in what units.
    """

    target: Target
    given: Given
    metric: Metric


def start_of(
    model: Model, seed: int, options: Options, estimate: Callable[..., FittedModel]
) -> FittedModel:
    """The fit to start from: the mode of the posterior density, or of the likelihood, by Laplace's way."""
    method = "exact" if model.family.is_normal else "laplace"
    try:
        return estimate(model, method=method, seed=seed, options=options)
    except ModelError:
        flat = replace(model, priors=NO_PRIORS)
        return estimate(flat, method=method, seed=seed, options=options)


def posterior_of(model: Model, start: FittedModel) -> Posterior:
    """The posterior density of a model, in coordinates that a fit whitens.

    Args:
      model: with all its priors.
      start: a fit of it, whatever its method.
    """
    params = _finite(model, start.params)
    modes = tuple(
        np.where(np.isfinite(each), each, 0.0) if np.shape(each) else each for each in start.modes
    )
    coordinates = Coordinates(model, params)
    given = given_of(coordinates, modes)
    inside = _inside(params, given)
    if inside is not params:
        coordinates = Coordinates(model, inside)
        given = given_of(coordinates, modes)
    target = Target(coordinates, log_prior(coordinates))
    _check(target, given, modes)
    root = np.linalg.cholesky(_spread(coordinates, start))
    metric = Metric(coordinates.start, root, np.ones(target.num_effects))
    return Posterior(target, given, metric)


def _check(target: Target, given: Given, effects: tuple[Floats, ...]) -> None:
    """Hold the density to that of the model's joint distribution, at the start.

    Raises:
      ModelError: where they differ: the model has what the density does not know of.
    """
    joint = target.coordinates.joint
    # Where effects are zero, nothing of their distribution shows.
    moved = [each + 0.3 * (1.0 + np.arange(each.size).reshape(each.shape) % 3) for each in effects]
    parts = {
        part: each if each.shape[1] > 1 else each[:, 0]
        for part, each in zip(joint.names.values(), moved, strict=True)
    }
    known = float(joint.distribution.log_prob({**parts, joint.response: joint.observed}))
    found = float(target.joint_log_prob([tf.constant(each) for each in moved], given))
    if not abs(known - found) <= ROUNDING * max(1.0, abs(known)):
        raise ModelError(
            "effects of this model are not drawn from their posterior: their distribution is of another kind",
            hint="Leave method out.",
        )


def _finite(model: Model, params: Params) -> Params:
    """Parameters of a fit, or rough ones where it came nowhere."""
    numbers = (params.beta, *params.covariances, params.own)
    return params if all(np.isfinite(each).all() for each in numbers) else model.start


def _inside(params: Params, given: Given) -> Params:
    """Parameters whose covariances are a way off their boundary."""
    covariances = []
    for covariance, near in zip(params.covariances, given.expansions, strict=True):
        # What a variance's own information is where it is zero: half the sum of squares of the weights.
        weights = np.einsum("laa->la", np.asarray(near.weights))
        known = 0.5 * np.square(weights).sum(axis=0)
        least = SHARE * np.where(known > 0.0, known, 1.0) ** -0.25
        sd = np.sqrt(np.diag(covariance))
        both = np.outer(sd, sd)
        correlation = np.where(both > 0.0, covariance / np.where(both > 0.0, both, 1.0), 0.0)
        np.fill_diagonal(correlation, 1.0)
        if np.linalg.eigvalsh(correlation)[0] < LEAST_EIGENVALUE:
            correlation = (correlation + NEARER * np.eye(len(sd))) / (1.0 + NEARER)
        raised = np.where(sd < 0.2 * least, least, sd)
        covariances.append(correlation * np.outer(raised, raised))
    unchanged = all(
        np.allclose(one, other) for one, other in zip(covariances, params.covariances, strict=True)
    )
    return params if unchanged else params._replace(covariances=tuple(covariances))


def _spread(coordinates: Coordinates, start: FittedModel) -> Floats:
    """(d, d) covariance of the coordinates, by the standard errors of a fit where it has some."""
    space, d = coordinates.space, coordinates.size
    known = np.isfinite(start.param_vcov).all(axis=1) | np.isfinite(np.diag(start.param_vcov))
    for place in space.theta_slices:
        known[place] = known[place].all()
    jacobian = np.zeros((d, d))
    for column in range(d):
        away = np.zeros(d)
        away[column] = STEP
        ends = coordinates.to_psi(coordinates.start + np.array([away, -away]))
        high, low = (space.to_report(psi) for psi in ends)
        jacobian[:, column] = (high - low) / (2.0 * STEP)
    found = UNKNOWN**2 * np.eye(d)
    use = np.ix_(known, known)
    try:
        inverse = np.linalg.inv(jacobian[use])
        block = inverse @ np.nan_to_num(start.param_vcov[use]) @ inverse.T
        values, vectors = np.linalg.eigh(block)
    except np.linalg.LinAlgError:
        return np.asarray(found)
    scale = max(float(values[-1]), 1e-300)
    found[use] = (vectors * np.maximum(values, 1e-10 * scale)) @ vectors.T
    return np.asarray(found)


def on_scales(coordinates: Coordinates, x: Floats) -> tuple[Floats, Floats]:
    """Coordinates (c, m, d) as the model's space has them, and on the reporting scale."""
    psi = coordinates.to_psi(x.reshape(-1, x.shape[2]))
    values = np.array([coordinates.space.to_report(each) for each in psi]).reshape(x.shape)
    return psi.reshape(x.shape), values


def draws_of(coordinates: Coordinates, run: Run, effort: Effort) -> Draws:
    """Draws on the scales of a fit, and how good they are."""
    psi, values = on_scales(coordinates, run.coordinates)
    warmup = (
        on_scales(coordinates, run.warmup_coordinates)[1]
        if run.warmup_coordinates.size
        else psi[:, :0]
    )
    return Draws(
        psi=psi,
        values=values,
        effects=run.effects,
        stats=run.stats,
        warmup_values=warmup,
        warmup_stats=run.warmup_stats,
        mixing=mixing_of(values),
        effects_mixing=effects_mixing(run.effects),
        bfmi=bfmi_of(run.stats.energy),
        effort=effort,
    )


def fit_of(
    model: Model,
    draws: Draws,
    seconds: Seconds,
    method: str,
    certificate: Certificate,
    outcome: Outcome,
) -> FittedModel:
    """The fit that draws make: means of parameters and effects, and their standard deviations."""
    space = model.space
    values = draws.values.reshape(-1, space.size)
    covariance = np.atleast_2d(np.cov(values.T))
    flat = tuple(each.reshape(-1, *each.shape[2:]) for each in draws.effects)
    moved = tuple(each - each.mean(axis=0) for each in flat)
    effects = Effects(
        tuple(each.mean(axis=0) for each in flat),
        tuple(np.einsum("mla,mlb->lab", each, each) / (len(each) - 1) for each in moved),
    )
    found = finish(
        model,
        method,
        params=mean_params(model, draws),
        values=values.mean(axis=0),
        errors=Errors("posterior", covariance),
        mc_error=draws.mixing.mcse,
        effects=effects,
        loglik=LogLik(np.nan, np.nan, space.size, model.design.num_observations),
        outcome=outcome,
        certificate=None,
        singular=False,
        seconds=seconds,
    )
    return replace(found, certificate=certificate, draws=draws)


def mean_params(model: Model, draws: Draws) -> Params:
    """Posterior means: of coefficients, of standard deviations and correlations, of own parameters."""
    space = model.space
    psi = draws.psi.reshape(-1, space.size)
    covariances = []
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        k = len(term.columns)
        factors = np.array([term.structure.cholesky(each, k) for each in psi[:, place]])
        each = factors @ factors.transpose(0, 2, 1)
        sd = np.sqrt(np.einsum("maa->ma", each))
        correlation = (each / (sd[:, :, None] * sd[:, None, :])).mean(axis=0)
        covariances.append(correlation * np.outer(sd.mean(axis=0), sd.mean(axis=0)))
    own = np.array([space.family_values(each) for each in psi]).mean(axis=0)
    return Params(psi[:, : space.num_fixed].mean(axis=0), tuple(covariances), own)
