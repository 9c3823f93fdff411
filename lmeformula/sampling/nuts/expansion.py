"""The data of a target's density, and the expansion of its log-likelihood at a fit."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats
from lmeformula.family import log_density
from lmeformula.sampling.nuts.coordinates import Coordinates
from lmeformula.sampling.nuts.target import Expansion, Given


def given_of(coordinates: Coordinates, effects: tuple[Floats, ...]) -> Given:
    """What the density is of, expanded at the coordinates' start and these effects (l, k) of each term."""
    model = coordinates.model
    family, stack, n = model.family, model.stack, model.design.n
    k = len(family.predictors)
    rows = slice(0, k * n)
    response = tuple(tf.constant(array, tf.float64) for array in family.response(model.design))
    counts = np.asarray(model.design.frequencies, float)
    X, offset = stack.X[rows], stack.offset[rows]
    values = [term.values[rows] for term in stack.terms]
    index = [term.index[rows].astype(np.int32) for term in stack.terms]
    p = coordinates.num_fixed
    eta = offset + X @ coordinates.start[:p]
    for b, columns, places in zip(effects, values, index, strict=True):
        eta = eta + np.einsum("nk,nk->n", columns, b[places])
    slope, weight = _of_rows(coordinates, eta, response, counts)
    expansions = []
    for b, columns, places in zip(effects, values, index, strict=True):
        levels, width = b.shape
        weighted = weight[:, None] * columns
        W = np.zeros((levels, width, width))
        pulls, slopes = np.zeros((levels, width, p)), np.zeros((levels, width))
        for a in range(width):
            for c in range(width):
                W[:, a, c] = np.bincount(places, weighted[:, a] * columns[:, c], levels)
            for c in range(p):
                pulls[:, a, c] = np.bincount(places, weighted[:, a] * X[:, c], levels)
            slopes[:, a] = np.bincount(places, slope * columns[:, a], levels)
        slopes += np.einsum("lab,lb->la", W, b)
        expansions.append(Expansion(*(tf.constant(part) for part in (W, slopes, pulls))))
    return Given(
        response,
        tf.constant(X),
        tf.constant(offset),
        tuple(map(tf.constant, values)),
        tuple(map(tf.constant, index)),
        tf.constant(counts),
        tf.constant(coordinates.start[:p]),
        tuple(expansions),
    )


def _of_rows(
    coordinates: Coordinates, eta: Floats, response: tuple[tf.Tensor, ...], counts: Floats
) -> tuple[Floats, Floats]:
    """(K n,) slope of the log density in each row's predictors, and its curvature, held at zero or above."""
    family = coordinates.model.family
    k, n = len(family.predictors), len(counts)
    own = coordinates.own_values(tf.constant(coordinates.start[:, None]))
    at = tf.constant(eta.reshape(k, n, 1))
    curvature = []
    for place in range(k):
        along = tf.constant(at[place])
        with tf.GradientTape() as outer:
            outer.watch(along)
            parts = [along if other == place else at[other] for other in range(k)]
            with tf.GradientTape() as inner:
                inner.watch(along)
                whole = parts[0] if k == 1 else tf.stack(parts)
                value = log_density(family, whole, response, own)
            first = inner.gradient(value, along)
        second = outer.gradient(first, along)
        curvature.append((first[:, 0].numpy(), second[:, 0].numpy()))
    slope = np.concatenate([counts * first for first, _ in curvature])
    weight = np.concatenate([counts * np.maximum(-second, 0.0) for _, second in curvature])
    return np.nan_to_num(slope), np.nan_to_num(weight)
