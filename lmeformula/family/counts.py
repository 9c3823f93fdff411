"""Counts by the Poisson distribution."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.family import papers
from lmeformula.family.checks import numbers, refuse_weights, response_of, unsuitable
from lmeformula.family.deviances import of_counts
from lmeformula.family.gammas import LARGE, REMAINDER
from lmeformula.family.notation import Notation
from lmeformula.family.own import Own, positive
from lmeformula.family.record import Arrays, ClosedForm, Depths, Family, Slopes
from lmeformula.family.series import Derivatives, applied
from lmeformula.startup import tf, tfp


def count_response(family: str) -> Any:
    """Design -> `count_arrays`, refused in the name of `family` where the response is not of counts."""

    def response(design: Design) -> Arrays:
        needs = "counts: whole numbers from zero"
        hint = "For rates, give counts and an offset: y ~ ... + offset(log(exposure))."
        values = numbers(design, family, needs, hint)
        if (values < 0).any() or (values != np.round(values)).any():
            raise unsuitable(design, family, needs, hint)
        refuse_weights(design, family)
        return count_arrays(values)

    return response


def count_arrays(counts: Floats) -> Arrays:
    """What densities of counts (n,) take.

    Returns:
      The counts, the logarithms of their factorials, their own logarithms (of zero: zero), and the log density
      of each by the Poisson distribution that has it for its mean: from there large counts keep their digits.
    """
    log_counts = np.log(np.maximum(counts, 1.0))
    return counts, scipy.special.gammaln(counts + 1.0), log_counts, _peaks(counts)


def _peaks(counts: Floats) -> Floats:
    """(n,) log of y^y exp(-y) / y!, by Stirling's formula with its remainder."""
    some = np.maximum(counts, 1.0)
    found = -0.5 * np.log(2.0 * np.pi * some) - stirling_remainder(some)
    return np.asarray(np.where(counts > 0.0, found, 0.0))


def stirling_remainder(x: Floats) -> Floats:
    """What Stirling's formula leaves of the log gamma function at x > 0.

    Example:
      >>> stirling_remainder(np.array([1.0, 1e3, 1e9])).round(7).tolist()
      [0.0810615, 8.33e-05, 0.0]
    """
    large = np.maximum(x, LARGE)
    found = sum(factor * large ** -(2.0 * j + 1.0) for j, factor in enumerate(REMAINDER))
    small = np.minimum(x, LARGE)
    direct = scipy.special.gammaln(small) - (small - 0.5) * np.log(small) + small
    return np.asarray(np.where(x >= LARGE, found, direct - 0.5 * np.log(2.0 * np.pi)))


def moments(design: Design) -> tuple[float, float]:
    """The mean of the counts, and their variance over its square, of whatever size they are."""
    counts = response_of(design).values
    mean = max(float(counts.mean()), 1e-3)
    return mean, float((counts / mean).var())


def linear_dispersion(design: Design) -> Own:
    """A dispersion that is the excess of the variance over the mean, relative to the mean."""
    mean, variance = moments(design)
    # Half of what Poisson leaves: the random effects have their share.
    return positive("dispersion", float(np.clip(0.5 * (variance * mean - 1.0), 0.1, 20.0)))


def _poisson_derivatives(eta: Floats, response: Arrays) -> Derivatives:
    counts, _, log_counts, peaks = response
    mean, apart = np.exp(eta), eta - log_counts
    # From the density's peak: sums of counts times logarithms would leave no digit of large ones.
    yield np.where(counts > 0.0, counts * (apart - np.expm1(apart)), -mean) + peaks
    yield counts - mean
    yield -mean
    yield -mean


def _poisson_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    return Slopes(*itertools.islice(_poisson_derivatives(eta, response), 3))


def count_family(name: str, title: str, called: tuple[str, ...] = (), **others: Any) -> Family:
    """A family of counts with a log link.

    Args:
      name: of the family.
      title: of its distribution, as it is written.
      called: what its own parameters are called there: all together, and then each where there are several.
      others: further fields of the record.
    """
    fields: dict[str, Any] = {"mean": lambda eta, own: np.exp(eta), **others}
    return Family(
        name=name,
        link="log",
        response=count_response(name),
        working=lambda response: np.log(response[0] + 0.5),  # kept off zero
        measure="counts",
        notation=Notation(title, "μ", r"\mu", "log", own="".join(called[:1]), elements=called[1:]),
        **fields,
    )


POISSON = count_family(
    "poisson",
    "Poisson",
    distribution=lambda eta, response, own: tfp.distributions.Poisson(log_rate=eta),
    variance=lambda mean, own: mean,
    log_density=lambda eta, response, own: (
        response[0][:, None] * eta - tf.exp(eta) - response[1][:, None]
    ),
    slope=lambda eta, response, own: response[0][:, None] - tf.exp(eta),
    closed=ClosedForm(
        _poisson_slopes,
        lambda eta, response, own: Depths.of_predictor(-np.exp(eta)),
        takes_columns=True,
    ),
    series=lambda eta, response, own: applied(lambda eta: _poisson_derivatives(eta, response), eta),
    deviance=of_counts,
    paper=papers.GLM,
    tfp=("Poisson", "log_rate"),
)
