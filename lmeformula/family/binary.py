"""Yes or no, and successes out of trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.family import papers
from lmeformula.family.checks import refuse_weights, response_of, unsuitable
from lmeformula.family.deviances import of_shares
from lmeformula.family.intervals import binary_form
from lmeformula.family.links import LINKS, Link
from lmeformula.family.notation import Notation
from lmeformula.family.record import Arrays, ClosedForm, Depths, Family, Slopes
from lmeformula.startup import tf, tfp

BERNOULLI = Notation("Bernoulli", "p", "p", "logit")


def bernoulli(link: str) -> Family:
    """Yes or no, with that link."""
    family = _family("bernoulli", LINKS[link], _two_classes, _bernoulli)
    return family._replace(
        measure="classes",
        notation=BERNOULLI,
        tfp=("Bernoulli", "logits") if link == "logit" else None,
    )


def binomial(link: str) -> Family:
    """Successes out of trials, with that link."""
    return _family("binomial", LINKS[link], TRIALS, _binomial)._replace(
        measure="shares",
        has_trials=True,
        notation=Notation("Binomial", "p", "p", "logit", has_trials=True, alone=BERNOULLI),
        tfp=("Binomial", "logits") if link == "logit" else None,
    )


def _family(name: str, link: Link, response: Any, distribution: Any) -> Family:
    def density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
        successes, trials, log_ways = (array[:, None] for array in response)
        yes, no = link.log_cdf(eta), link.log_survival(eta)
        return successes * yes + (trials - successes) * no + log_ways

    is_logit = link.name == "logit"
    return Family(
        name=name,
        link=link.name,
        response=response,
        distribution=lambda eta, response, own: distribution(link, eta, response),
        mean=lambda eta, own: link.inverse(eta),
        working=lambda r: link.forward((r[0] + 0.5) / (r[1] + 1.0)),
        variance=lambda mean, own: mean * (1.0 - mean),
        deviance=of_shares,
        is_latent=True,
        paper=papers.GLM,
        log_density=_logit_density if is_logit else density,
        slope=_logit_slope if is_logit else None,
        closed=ClosedForm(_logit_slopes, _logit_depths, takes_columns=True)
        if is_logit
        else binary_form(link.name),
    )


def _two_classes(design: Design) -> Arrays:
    response = response_of(design)
    values = response.values
    has_two = response.kind in ("categorical", "ordered") and len(response.levels) == 2
    is_binary = values.ndim == 1 and bool(np.isin(values, (0.0, 1.0)).all())
    if (
        response.trials is not None
        or not is_binary
        or not (has_two or response.kind in ("logical", "numeric"))
    ):
        raise unsuitable(
            design,
            "bernoulli",
            "a logical, 0 and 1, or a factor with two levels",
            'For counts of successes use family="binomial" with cbind(successes, failures); '
            'for ordered categories family="cumulative".',
        )
    refuse_weights(design, "bernoulli", 'Repeat the rows, or use family="binomial" with trials.')
    # One number that is read for every row.
    one, none = (np.broadcast_to(number, values.shape) for number in (1.0, 0.0))
    return values, one, none


def _check_trials(design: Design, family: str, trials: Floats) -> None:
    """Refuse prior weights that are no numbers of trials."""
    wrong = (np.abs(trials - np.round(trials)) > 1e-6) | (trials < 0)
    if wrong.any():
        raise unsuitable(
            design,
            family,
            "whole numbers of trials as weights",
            f"{int(wrong.sum())} rows are not, the first of them row {int(np.argmax(wrong))} of those used.",
        )


def trials_response(family: str) -> Any:
    """Design -> (successes, trials, log of the ways), refused in the name of `family` where they are none."""

    def response(design: Design) -> Arrays:
        given = response_of(design)
        values = given.values
        if design.weights is not None and (given.trials is not None or values.ndim == 2):
            raise ModelError(
                f"the {family} family takes prior weights for numbers of trials, and the response has these "
                "already",
                hint="Leave the weights out; repeat the rows if they say how often each was there.",
            )
        if values.ndim == 2 and values.shape[1] == 2:
            successes, trials = values[:, 0], values.sum(axis=1)
        elif values.ndim == 1 and given.trials is not None:
            successes, trials = values, given.trials
        elif values.ndim == 1 and design.weights is not None:
            successes, trials = values * design.weights, design.weights
            _check_trials(design, family, trials)
        elif values.ndim == 1 and bool(np.isin(values, (0.0, 1.0)).all()):
            # Single answers are one trial each.
            successes, trials = values, np.ones(len(values))
        else:
            raise unsuitable(
                design,
                family,
                "successes out of trials",
                "Write cbind(successes, failures), or successes | trials(n); for single yes or no "
                'answers use family="bernoulli".',
            )
        rounded = np.round(successes)
        bad = (np.abs(successes - rounded) > 1e-6) | (rounded < 0) | (rounded > trials)
        if bad.any():
            raise unsuitable(
                design,
                family,
                "whole numbers of successes within the trials",
                f"{int(bad.sum())} rows are not, the first of them row {int(np.argmax(bad))} of those used.",
            )
        gammaln = scipy.special.gammaln
        log_ways = gammaln(trials + 1) - gammaln(rounded + 1) - gammaln(trials - rounded + 1)
        return rounded, trials, log_ways

    return response


TRIALS = trials_response("binomial")


def _bernoulli(link: Link, eta: Tensor, response: Arrays) -> Any:
    return tfp.distributions.Bernoulli(logits=link.log_odds(eta), dtype=eta.dtype)


def _binomial(link: Link, eta: Tensor, response: Arrays) -> Any:
    return tfp.distributions.Binomial(total_count=response[1], logits=link.log_odds(eta))


def _logit_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    successes, trials, log_ways = (array[:, None] for array in response)
    return successes * eta - trials * tf.math.softplus(eta) + log_ways


def _logit_slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    return response[0][:, None] - response[1][:, None] * tf.math.sigmoid(eta)


def _logit_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    successes, trials, log_ways = response
    # The chances of what is less likely and of what is more so, of which neither has lost digits.
    odds = np.exp(-np.abs(eta))
    likely = 1.0 / (1.0 + odds)
    unlikely = odds * likely
    value = successes * eta - trials * (np.maximum(eta, 0.0) + np.log1p(odds)) + log_ways
    first = successes - trials * np.where(eta < 0.0, unlikely, likely)
    return Slopes(value, first, -trials * (unlikely * likely))


def _logit_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    chance = scipy.special.expit(eta)
    return Depths.of_predictor(response[1] * chance * (1.0 - chance) * (2.0 * chance - 1.0))
