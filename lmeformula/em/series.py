"""Series of draws: the Monte Carlo errors of their means, and whether chains agree."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats

# Batches for Monte Carlo errors: at least this many draws long, at most this many of each chain.
BATCH_LENGTH = 4
MOST_BATCHES = 16


def mean_covariance(series: Floats) -> Floats:
    """(v, v) Monte Carlo covariance of the mean of a series (m, v, c) over draws and chains.

    From the means of batches of each chain, widened for what short batches miss of the correlation between
    successive draws.

    References: Flegal, Jones (2010), Ann. Statist. 38, 1034-1070, batch means; Vats, Flegal (2022), Ann.
    Statist. 50, 3097-3121, lugsail estimators, which the widening is taken from.
    """
    num_draws, _, num_chains = series.shape
    per_chain = int(np.clip(num_draws // BATCH_LENGTH, 1, MOST_BATCHES))
    if per_chain * num_chains < 4:
        per_chain = min(num_draws, 4)
    whole = _of_batches(series, per_chain)
    length = num_draws // per_chain
    if length < 2 or per_chain * 2 > num_draws:
        return whole
    halves = _of_batches(series, 2 * per_chain)
    # Twice the whole less the halves has no bias of first order in the length.
    usable = np.diag(whole) > 0
    ratio = np.diag(halves)[usable] / np.diag(whole)[usable]
    widened = 2.0 - float(np.mean(ratio)) if usable.any() else 1.0
    return whole * float(np.clip(widened, 1.0, 2.0))


def _of_batches(series: Floats, per_chain: int) -> Floats:
    means = np.concatenate(
        [part.mean(axis=0).T for part in np.array_split(series, per_chain)]
    )  # (batches, v)
    centred = means - means.mean(axis=0)
    count = len(means)
    return np.asarray(centred.T @ centred / (max(count - 1, 1) * count))


def effective_draws(series: Floats) -> float:
    """The smallest effective number of draws over a series (m, v, c)."""
    total = series.shape[0] * series.shape[2]
    variance = series.var(axis=(0, 2))
    error = np.diag(mean_covariance(series))
    known = error > 0
    if not known.any():
        return float(total)
    return float(np.clip((variance[known] / error[known]).min(), 1.0, total))


def split_rhat(series: Floats) -> float:
    """Split R-hat, the largest over a series (m, v, c), between and within half-chains.

    Reference: Gelman et al. (2013), Bayesian data analysis, section 11.4.
    """
    half = series.shape[0] // 2
    if half < 2:
        return float("nan")
    halves = np.concatenate([series[:half], series[-half:]], axis=2)
    means = halves.mean(axis=0)  # (v, 2c)
    between = means.var(axis=1, ddof=1)
    within = halves.var(axis=0, ddof=1).mean(axis=1)
    known = within > 0
    ratio = (half - 1.0) / half + between[known] / within[known]
    return float(np.sqrt(ratio).max(initial=1.0))
