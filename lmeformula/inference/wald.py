"""Wald's intervals, each on a scale on which the parameter has no bounds."""

from __future__ import annotations

import math

from lmeformula.prediction.parameters import Parameter


def wald_interval(parameter: Parameter, quantile: float) -> tuple[float, float]:
    """Lower and upper end of one interval.

    Fixed effects and thresholds as they are; standard deviations and other positive parameters on the log
    scale; correlations, between a and b, on that of log((r - a) / (b - r)) / 2, which is Fisher's z for -1, 1.

    Args:
      parameter: estimate, standard error and bounds.
      quantile: of the standard normal distribution, or Student's t.
    Returns:
      The ends; nan where there is no standard error, but for the end that is an estimate of zero.
    References:
      Pinheiro, Bates (2000), Mixed-Effects Models in S and S-PLUS, section 2.4.3.
    Example:
      >>> sd = Parameter("sd(g)", "sd", "g", "Intercept", 2.0, 0.5, 0.0, (0.0, float("inf")))
      >>> [round(end, 3) for end in wald_interval(sd, 1.96)]  # 2 exp(-/+ 1.96 / 4)
      [1.225, 3.265]
    """
    estimate, half = parameter.estimate, quantile * parameter.std_error
    low, high = parameter.bounds
    if not (half > 0 and low < estimate < high):
        return (low if estimate == low == 0.0 else math.nan), math.nan
    if math.isinf(low):
        return estimate - half, estimate + half
    if math.isinf(high):
        ratio = math.exp(min(half / (estimate - low), 700.0))
        return low + (estimate - low) / ratio, low + (estimate - low) * ratio
    centre = 0.5 * math.log((estimate - low) / (high - estimate))
    half *= 0.5 * (high - low) / ((estimate - low) * (high - estimate))
    ends = (math.tanh(centre + shift) for shift in (-half, half))
    lower, upper = (0.5 * (low + high) + 0.5 * (high - low) * end for end in ends)
    return lower, upper


def note_of(parameter: Parameter) -> str:
    """Why a parameter has no such interval; "" where it has one."""
    if parameter.std_error > 0:
        return ""
    return "on its boundary, where no standard error exists; profile intervals do"
