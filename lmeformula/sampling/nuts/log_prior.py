"""The log density of a model's priors, as TensorFlow takes it: of many chains, in natural values.

Densities are those of parameters on their natural scale; what is relative to sigma has that of the ratio.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Tensor
from lmeformula.errors import ModelError
from lmeformula.model.priors import Assigned, log_orders
from lmeformula.priors import LKJ, Gamma, InverseWishart, Scalar, Wishart
from lmeformula.priors.within import Within
from lmeformula.sampling.nuts.coordinates import Coordinates, OfTerm
from lmeformula.sampling.nuts.target import LogPrior

tfd = tfp.distributions


def log_prior(coordinates: Coordinates) -> LogPrior:
    """The log prior density of a model's parameters, flat where none has a prior.

    Args:
      coordinates: of the parameters.
    Returns:
      natural values of the joint distribution's variables (c, ...) -> (c,).
    Raises:
      ModelError: for a prior that has no form here.
    """
    priors = coordinates.model.priors
    parts = [_part(one, coordinates) for one in priors]
    has_own = {place for one in priors.of("cor", "cov") for place in one.terms}

    orders = log_orders(priors, coordinates.space)
    with_own = sorted({place for one in priors.of("structure") for place in one.terms})

    def density(natural: Mapping[str, Tensor]) -> Tensor:
        found = orders
        for part in parts:
            found = found + part(natural)
        # Correlations have the density of the matrix, by which its factor has another.
        for place in with_own:
            found = found + _reported(coordinates.terms[place], natural)[1]
        for place, term in enumerate(coordinates.terms):
            if _is_whole(term) and place not in has_own:
                found = found + _of_correlations(term, 1.0, natural)
        return tf.cast(found, tf.float64)

    return density


def _is_whole(term: OfTerm) -> bool:
    """Whether the joint distribution has the factor of a correlation matrix of its own elements."""
    return bool(term.correlation) and term.structure.correlations == "each"


def _part(one: Assigned, coordinates: Coordinates) -> LogPrior:
    if one.of == "fixed":
        names = [coordinates.blocks[index].name for index in one.indices]
        return lambda natural: sum(_scalar(one.prior, natural[name]) for name in names)
    if one.of == "own":
        return _of_own(one, coordinates)
    terms = coordinates.terms
    if one.of == "structure":
        density = cast(Within, one.prior)
        log_density = (
            density.tfp_log_density
            if isinstance(density, Within)
            else lambda values: _scalar(density, values)
        )

        def of_structures(natural: Mapping[str, Tensor]) -> Tensor:
            found: Any = 0.0
            for index, place in zip(one.indices, one.terms, strict=True):
                term = terms[place]
                first = term.structure.num_sds(term.num_columns)
                found += log_density(_reported(term, natural)[0][:, index - first])
            return found

        return of_structures
    if one.of == "sd":

        def of_sds(natural: Mapping[str, Tensor]) -> Tensor:
            found: Any = 0.0
            for index, place in zip(one.indices, one.terms, strict=True):
                k, structure = terms[place].num_columns, terms[place].structure
                sd = _column(natural[terms[place].stddev], index * structure.num_sds(k) // k)
                if one.is_relative:
                    sigma = natural[coordinates.own]
                    found += _scalar(one.prior, sd / sigma) - tf.math.log(sigma)
                else:
                    found += _scalar(one.prior, sd)
            return found

        return of_sds
    if one.of == "cor":
        shape = cast(LKJ, one.prior).shape
        return lambda natural: sum(_of_correlations(terms[j], shape, natural) for j in one.terms)
    return lambda natural: sum(
        _of_covariance(one, terms[j], natural, coordinates.own) for j in one.terms
    )


def _of_own(one: Assigned, coordinates: Coordinates) -> LogPrior:
    """The density of own parameters as they are reported."""
    own, name = coordinates.space.own, coordinates.own
    report = None if own.report is None else tf.constant(own.report, tf.float64)

    def density(natural: Mapping[str, Tensor]) -> Tensor:
        values = natural[name]
        if report is not None:
            values = tf.linalg.matvec(report, values)
        return sum(_scalar(one.prior, _column(values, index)) for index in one.indices)

    return density


def _reported(term: OfTerm, natural: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What a structure reports besides standard deviations (c, e), and the log volume (c,)."""
    found: tuple[Tensor, Tensor] = term.structure.tfp_reported(
        natural[term.correlation], term.num_columns
    )
    return found


def _column(values: Tensor, index: int) -> Tensor:
    """(c,) one of the numbers (c,) or (c, v)."""
    return values if values.shape.rank == 1 else values[:, index]


def _scalar(prior: Any, values: Tensor) -> Tensor:
    """(c,) log density of one number; of an improper prior up to a constant."""
    if isinstance(prior, Gamma) and not prior.is_proper:
        return (prior.shape - 1.0) * tf.math.log(values) - prior.rate * values
    return cast(Scalar, prior).distribution("float64").log_prob(values)


def _of_correlations(term: OfTerm, shape: float, natural: Mapping[str, Tensor]) -> Tensor:
    """(c,) the density of Lewandowski, Kurowicka and Joe, of the factor of a correlation matrix."""
    lkj = tfd.CholeskyLKJ(term.num_columns, tf.constant(shape, tf.float64))
    return lkj.log_prob(natural[term.correlation])


def _of_covariance(one: Assigned, term: OfTerm, natural: Mapping[str, Tensor], own: str) -> Tensor:
    """(c,) the density of a covariance, of its standard deviations and the factor of its correlations."""
    k, prior = term.num_columns, one.prior
    factor = term.factor(natural)
    unit = natural[own] if one.is_relative else tf.ones([tf.shape(factor)[0]], factor.dtype)
    factor = factor / unit[:, None, None]
    logs = tf.math.log(tf.linalg.diag_part(factor))
    log_det = 2.0 * tf.reduce_sum(logs, axis=1)
    if isinstance(prior, Wishart):
        found = 0.5 * (prior.of_size(k) - k - 1.0) * log_det
        if prior.is_proper:
            found -= 0.5 * tf.reduce_sum(factor**2, axis=[1, 2]) / prior.scale
    elif isinstance(prior, InverseWishart):
        unit_matrix = tf.eye(k, dtype=factor.dtype)
        inverse = tf.linalg.triangular_solve(factor, unit_matrix + tf.zeros_like(factor))
        found = -0.5 * (prior.of_size(k) + k + 1.0) * log_det
        found -= 0.5 * prior.scale * tf.reduce_sum(inverse**2, axis=[1, 2])
    else:
        raise ModelError(f"the prior {prior.text} is not of covariances that are drawn")
    # From covariances to standard deviations and correlations: 2^k times each sd to the power k.
    sd = natural[term.stddev]
    sd = sd[:, None] if sd.shape.rank == 1 else sd
    found += k * tf.reduce_sum(tf.math.log(sd), axis=1) - k * (k + 1) * tf.math.log(unit)
    return found + (_of_correlations(term, 1.0, natural) if term.correlation else 0.0)
