"""Successes out of trials whose chance varies by a beta distribution.

The variance of a share of n trials is mu (1 - mu) / n (precision + n) / (precision + 1), as of glmmTMB's
betabinomial.

References: Griffiths (1973), Maximum likelihood estimation for the beta-binomial distribution, Biometrics 29,
637-648; Morris (1997), Disentangling mean and dispersion, for the precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Tensor
from lmeformula.design.design import Design
from lmeformula.family import papers
from lmeformula.family.binary import trials_response
from lmeformula.family.elementary import by_jet, log
from lmeformula.family.gammas import LARGE, log_rising, log_rising_ratio
from lmeformula.family.jets import jets
from lmeformula.family.limit import of_trials, upwards
from lmeformula.family.links import LINKS, Link
from lmeformula.family.notation import Notation
from lmeformula.family.own import Own, positive
from lmeformula.family.polya_urn import urn_form
from lmeformula.family.polya_urn_large import MANY, log_chances
from lmeformula.family.record import Arrays, Family, Predicted
from lmeformula.family.rising_series import log_draws
from lmeformula.family.series import Series
from lmeformula.startup import tf, tfp


def beta_binomial(link: str) -> Family:
    """Successes out of trials that vary more than independent ones, with that link."""
    chosen = LINKS[link]
    return Family(
        name="beta_binomial",
        link=link,
        response=RESPONSE,
        distribution=lambda eta, response, own: _distribution(chosen, eta, response, own),
        mean=lambda eta, own: chosen.inverse(eta),
        working=lambda r: chosen.forward((r[0] + 0.5) / (r[1] + 1.0)),
        own=_precision,
        variance=lambda mean, own: mean * (1.0 - mean),
        overdispersion=lambda trials, own: (own[0] + trials) / (own[0] + 1.0),
        has_trials=True,
        predicted=(Predicted("precision", "log", aliases=("phi",)),),
        log_density=lambda eta, response, own: _density(chosen, eta, response, own),
        closed=urn_form(link),
        series=lambda eta, response, own: _series(link, eta, response, own),
        says="precision: the variance of a share is that of n independent trials times "
        "(precision + n) / (precision + 1).",
        paper=papers.BETA_BINOMIAL,
        limits=(upwards("precision", "binomial", of_trials),),
        measure="shares",
        notation=Notation("BetaBinomial", "p", "p", "logit", has_trials=True, own="precision"),
    )


RESPONSE = trials_response("beta_binomial")


def _precision(design: Design) -> Own:
    """By moments: Pearson's statistic over that of independent trials."""
    successes, trials, _ = RESPONSE(design)
    pooled = successes.sum() / max(trials.sum(), 1.0)
    expected = max(pooled * (1.0 - pooled), 1e-6)
    many = trials > 1.0
    if not many.any():
        return positive("precision", 5.0)
    excess = (successes - trials * pooled)[many] ** 2 / (trials[many] * expected)
    correlation = (excess.mean() - 1.0) / (trials[many].mean() - 1.0)
    # Some of it is for the random effects.
    correlation = float(np.clip(0.5 * correlation, 1e-3, 0.8))
    return positive("precision", 1.0 / correlation - 1.0)


def _distribution(link: Link, eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    log_yes, log_no = link.log_cdf(eta), link.log_survival(eta)
    return tfp.distributions.BetaBinomial(
        total_count=response[1],
        concentration1=own[0] * tf.exp(log_yes),
        concentration0=own[0] * tf.exp(log_no),
    )


def _density(link: Link, eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    successes, trials, log_ways = (array[:, None] for array in response)
    log_precision = tf.math.log(own[0])
    log_yes, log_no = link.log_cdf(eta), link.log_survival(eta)
    return (
        log_ways
        + _log_rising(log_precision, log_yes, successes)
        + _log_rising(log_precision, log_no, trials - successes)
        - _log_rising(log_precision, tf.zeros_like(log_precision), trials)
    )


def _series(link: str, eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    successes, trials, log_ways = response
    precision, added, both = own[0], -log(own[0]), jets(link)
    yes, no = by_jet(both.log_cdf, eta), by_jet(both.log_survival, eta)
    # As many draws are of both sides as of the whole.
    is_relative = trials > precision.value
    found = log_draws(yes, added, successes, is_relative)
    found += log_draws(no, added, trials - successes, is_relative)
    found -= log_draws(0.0 * added, added, trials, is_relative) - log_ways
    if (many := trials > MANY).any():
        logs, counts = (yes.value[many], no.value[many]), (successes[many], trials[many])
        each = np.broadcast_to(precision.value, trials.shape)[many]
        found.value = np.array(found.value)
        found.value[many] = log_chances(*logs, *counts, each)
    return found


def _log_rising(log_precision: Tensor, log_share: Tensor, count: Tensor) -> Tensor:
    """log(a (a + 1) ... (a + count - 1)) less count log precision, with log a = log precision + log share.

    Digits are kept where a is nearly zero, and where it is large: there it is little more than count log share.
    """
    log_start = log_precision + log_share + tf.zeros_like(count)
    is_large = log_start > math.log(LARGE)
    start = tf.exp(tf.where(is_large, log_start, tf.cast(math.log(LARGE), log_start.dtype)))
    large = count * log_share + log_rising_ratio(start, count)
    low = tf.where(is_large, tf.zeros_like(log_start), log_start)
    has_any = tf.cast(count > 0.0, low.dtype)
    others = tf.maximum(count - 1.0, tf.zeros_like(count))
    small = has_any * (low + log_rising(tf.exp(low) + 1.0, others)) - count * log_precision
    return tf.where(is_large, large, small)
