"""The distribution of rows as a likelihood has it: densities times prior weights, where a family has such."""

from __future__ import annotations

from typing import Any

from lmeformula.arrays import Tensor
from lmeformula.family.record import Family
from lmeformula.family.rowwise import rowwise
from lmeformula.startup import tf


def weighted_rows(
    family: Family, eta: Tensor, response: tuple[Tensor, ...], own: tuple[Tensor, ...]
) -> Any:
    """The distribution of rows whose log densities add up to the log-likelihood.

    A row of weight w counts as w rows with the same response; one of these is what is drawn.

    Args:
      family: of K predictors.
      eta: (..., K, n) linear predictors.
      response: the response arrays.
      own: own parameters.
    """
    made = family.distribution(family.as_taken(eta), response, own)
    if not family.has_weights:
        return made
    return rowwise(
        eta[..., 0, :],
        lambda y: made.log_prob(y) * response[-1],
        lambda shape, seed: tf.cast(made.sample(shape[0], seed=seed), eta.dtype),
        made.cdf,
        made.mean,
    )
