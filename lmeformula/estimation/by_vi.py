"""A distribution fitted to the posterior one of parameters and effects, from a Laplace fit on: by "vi"."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.certificate import Certificate, Claim
from lmeformula.drawn import Draws, Effort, Mixing, Stats, Surrogate
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.errors import ModelError
from lmeformula.estimation.by_nuts import check_size, fit_of, on_scales, posterior_of, start_of
from lmeformula.estimation.evidence.posterior import import_arviz
from lmeformula.fit import FittedModel
from lmeformula.history import Seconds
from lmeformula.model.compile import Model
from lmeformula.model.default_priors import with_defaults
from lmeformula.sampling.nuts.surrogate import STEPS, Sample, factored_metric, fitted, sample

# Vehtari et al. (2024): above this importance ratios are of no use.
MOST_KHAT = 0.7
# Most parameters and effects that have all covariances: of so many a step takes a tenth of a second.
MOST_TOGETHER = 1500


def estimate_vi(
    model: Model,
    seed: int,
    options: Options,
    effort: Effort | None,
    estimate: Callable[..., FittedModel],
) -> FittedModel:
    """Fit a distribution to the posterior one, and draw from it; as `by_nuts.estimate_nuts`.

    Raises:
      MissingLibraryError: if ArviZ is not installed.
      ModelError: for more numbers than are held, or than have covariances.
    """
    began = time.perf_counter()
    import_arviz("vi")
    effort = Effort(num_warmup=0) if effort is None else effort
    # The effort of a fit by another method, which is updated, names none.
    effort = effort._replace(surrogate=effort.surrogate or "full_rank")
    model = with_defaults(model)
    size = check_size(model, effort)
    is_full = effort.surrogate == "full_rank"
    if is_full and size > MOST_TOGETHER:
        raise ModelError(
            f"a normal distribution of {size:,} parameters and effects with all covariances is too large",
            hint='Give surrogate="factored", or use method="nuts".',
        )
    posterior = posterior_of(model, start_of(model, seed, options, estimate))
    start_seconds = time.perf_counter() - began
    target, given = posterior.target, posterior.given
    metric = posterior.metric if is_full else factored_metric(posterior.metric)
    found = fitted(target, given, metric, seed, is_full=is_full)
    c, m = effort.num_chains, effort.num_draws
    drawn = sample(target, given, metric, found.free, c * m, seed)
    surrogate, weights = _surrogate(drawn, len(found.elbo) * STEPS, found.has_settled, (c, m))
    chosen = _by_importance(weights, seed) if effort.importance else np.arange(c * m)
    x = drawn.coordinates[chosen].reshape(c, m, -1)
    psi, values = on_scales(target.coordinates, x)
    effective = surrogate.effective if effort.importance else float(c * m)
    nothing = np.zeros((c, m))
    stats = Stats(drawn.log_target[chosen].reshape(c, m), *(nothing for _ in Stats._fields[1:]))
    unknown = np.full(values.shape[2], np.nan)
    sd = values.std(axis=(0, 1), ddof=1)
    draws = Draws(
        psi=psi,
        values=values,
        effects=tuple(each[chosen].reshape(c, m, *each.shape[1:]) for each in drawn.effects),
        stats=stats,
        warmup_values=values[:, :0],
        warmup_stats=Stats(*(nothing[:, :0] for _ in Stats._fields)),
        mixing=Mixing(
            unknown,
            np.full_like(unknown, effective),
            np.full_like(unknown, effective),
            sd / np.sqrt(effective),
        ),
        effects_mixing=np.array([np.nan, effective]),
        bfmi=np.full(c, np.nan),
        effort=effort,
        surrogate=surrogate,
    )
    certificate = certify_surrogate(surrogate)
    total = time.perf_counter() - began
    seconds = Seconds(0.0, 0.0, total, start=start_seconds, iterations=total - start_seconds)
    outcome = Outcome.INTERRUPTED if found.was_interrupted else outcome_of(certificate)
    return fit_of(model, draws, seconds, "vi", certificate, outcome)


def _surrogate(
    drawn: Sample, num_steps: int, has_settled: bool, shape: tuple[int, int]
) -> tuple[Surrogate, Floats]:
    """What draws say of what they are from, and their smoothed weights (m,), which add up to one."""
    ratios = drawn.log_ratios
    bound = np.where(np.isfinite(ratios), ratios, ratios[np.isfinite(ratios)].min(initial=0.0))
    with warnings.catch_warnings():
        # Where k is large this says so, in words of its own.
        warnings.simplefilter("ignore")
        logs, khat = import_arviz("vi").psislw(bound.copy())
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    return (
        Surrogate(
            elbo=float(bound.mean()),
            elbo_error=float(bound.std(ddof=1) / np.sqrt(len(bound))),
            khat=float(khat),
            log_ratios=bound.reshape(shape),
            effective=float(1.0 / np.square(weights).sum()),
            num_steps=num_steps,
            has_settled=has_settled,
        ),
        weights,
    )


def _by_importance(weights: Floats, seed: int) -> Ints:
    """(m,) places that are drawn by weights (m,), evenly: each as often as its weight says, but for one."""
    random = np.random.default_rng([seed, 13])
    ends = (np.arange(len(weights)) + random.random()) / len(weights)
    places = np.searchsorted(np.cumsum(weights), ends).clip(max=len(weights) - 1)
    return np.asarray(random.permutation(places), np.int64)


def certify_surrogate(surrogate: Surrogate) -> Certificate:
    """What is claimed of a distribution that stands for the posterior one."""
    k = surrogate.khat
    words = f"Pareto's k of the importance ratios is {k:.2f}"
    if not k <= MOST_KHAT:
        words += ": what was fitted is far from the posterior distribution, and not to be believed"
    settled = "the evidence lower bound no longer rises"
    if not surrogate.has_settled:
        settled = "the evidence lower bound was still rising"
    return Certificate(
        (
            Claim("importance ratios", bool(k <= MOST_KHAT), k, MOST_KHAT, (), words),
            Claim("lower bound", surrogate.has_settled, surrogate.elbo, 0.0, (), settled),
        )
    )


def outcome_of(certificate: Certificate) -> Outcome:
    """How the fit ended, by what is claimed."""
    failing = {claim.name for claim in certificate.failing}
    if "importance ratios" in failing:
        return Outcome.POOR_SURROGATE
    return Outcome.UNSETTLED_SURROGATE if failing else Outcome.APPROXIMATED
