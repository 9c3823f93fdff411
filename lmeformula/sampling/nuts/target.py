"""The log posterior density of parameters and effects, in coordinates where it is near N(0, I).

With the log-likelihood of a level's rows replaced by its second-order expansion at the fit, of curvature W and
slope c at b = 0 for a term's effects b = Lambda u, u given the parameters would be normal, with precision
B = I + Lambda' W Lambda and mean B^-1 Lambda' c. So the sampler moves z in u = B^-1 Lambda' c + B^-1/2 z: where
the rows say nothing of a level, W = 0, this is the non-centred form, and where they say all, the centred one,
level by level, and as the parameters move. Whatever W and c are, the density is right: its Jacobian determinant
is taken into account.

The parameters move by a fixed root of their covariance in the fit, which warm-up brings up to date.

References: Papaspiliopoulos, Roberts, Skoeld (2007), Statist. Sci. 22, 59-73, for the forms between centred and
non-centred; Betancourt, Girolami (2015), in Current Trends in Bayesian Methodology, chapter 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Tensor
from lmeformula.family import log_density
from lmeformula.sampling.nuts.coordinates import Coordinates

# Natural values of the variables (c, ...) -> (c,) the log prior density of them.
LogPrior = Callable[[Mapping[str, Tensor]], Tensor]
# Most coefficients of a term for which levels have their own form; with more it is the non-centred one.
MOST_COLUMNS = 6


class Expansion(NamedTuple):
    """The log-likelihood near the fit, as a function of one term's effects.

    Attributes:
      weights: (l, k, k) W, positive semidefinite.
      slopes: (l, k) c.
      pulls: (l, k, p) what a change of the fixed effects takes away from the slopes.
    """

    weights: Tensor
    slopes: Tensor
    pulls: Tensor


class Metric(NamedTuple):
    """Where the parameters are, and how they and the effects are spread.

    Attributes:
      centre: (d,) of the parameters.
      root: (d, d) lower triangular.
      scales: (q,) of the effects' z.
    """

    centre: Tensor
    root: Tensor
    scales: Tensor


class Given(NamedTuple):
    """What the density is of.

    Attributes:
      response: arrays of n rows, as the family reads them.
      X: (K n, p) of the K predictors' rows.
      offset: (K n,).
      values: (K n, k) of each term.
      codes: (K n,) int32 level of each term.
      counts: (n,) how many observations each row stands for.
      beta: (p,) the fixed effects where the expansions are.
      expansions: of each term.
    """

    response: tuple[Tensor, ...]
    X: Tensor
    offset: Tensor
    values: tuple[Tensor, ...]
    codes: tuple[Tensor, ...]
    counts: Tensor
    beta: Tensor
    expansions: tuple[Expansion, ...]


class Unwhitened(NamedTuple):
    """Parameters and effects of c chains.

    Attributes:
      x: (d, c) coordinates of the parameters.
      natural: (c, ...) of each variable.
      effects: (l, k, c) of each term, on the scale of the predictor.
      value: (c,) log density of u, plus the log Jacobian determinants.
    """

    x: Tensor
    natural: dict[str, Tensor]
    effects: tuple[Tensor, ...]
    value: Tensor


class Target:
    """The log posterior density of a model.

    Args:
      coordinates: of its parameters.
      prior: of these.
    """

    def __init__(self, coordinates: Coordinates, prior: LogPrior) -> None:
        self.coordinates, self.prior = coordinates, prior
        self.family = coordinates.model.family
        self.sizes = tuple(
            (len(term.levels), len(term.columns)) for term in coordinates.model.design.terms
        )

    @property
    def num_effects(self) -> int:
        """q."""
        return sum(levels * k for levels, k in self.sizes)

    @property
    def size(self) -> int:
        """d + q."""
        return self.coordinates.size + self.num_effects

    @property
    def structure(self) -> tuple[Any, ...]:
        """What the density is as a function of positions, metric and data: all that is built into a program."""
        at, model = self.coordinates, self.coordinates.model
        blocks = tuple((block.name, block.place.start, block.event) for block in at.blocks)
        priors = tuple((one.key, one.prior, one.names, one.is_relative) for one in model.priors)
        terms = tuple(one._replace(structure=None) for one in at.terms)
        structures = tuple(one.structure for one in at.terms)
        held = (model.space.held_sd, model.space.own.scale, at.own)
        return self.family, blocks, terms, structures, held, self.sizes, priors

    def unwhitened(self, w: Tensor, metric: Metric, given: Given) -> Unwhitened:
        """Parameters and effects at positions w (d + q, c) of the sampler."""
        d = self.coordinates.size
        x = metric.centre[:, None] + tf.linalg.matmul(metric.root, w[:d])
        natural, value = self.coordinates.natural(x)
        z = metric.scales[:, None] * w[d:]
        p = self.coordinates.num_fixed
        moved = x[:p] - given.beta[:, None]
        effects, at = [], 0
        for term, (levels, k), near in zip(
            self.coordinates.terms, self.sizes, given.expansions, strict=True
        ):
            part = tf.reshape(z[at : at + levels * k], [levels, k, -1])
            at += levels * k
            factor = tf.transpose(term.factor(natural), [1, 2, 0])
            u, of_term = _spherical(factor, part, near, moved)
            effects.append(_apply(factor, u))
            value += of_term + self._log_prior_of(u, natural.get(term.df))
        return Unwhitened(x, natural, tuple(effects), value)

    def predictors(self, there: Unwhitened, given: Given) -> Tensor:
        """(n, c) linear predictor of the rows, or (K, n, c)."""
        p = self.coordinates.num_fixed
        eta = given.offset[:, None] + tf.linalg.matmul(given.X, there.x[:p])
        for b, values, index in zip(there.effects, given.values, given.codes, strict=True):
            for column in range(b.shape[1]):
                eta += values[:, column, None] * tf.gather(b[:, column], index)
        num_predictors = len(self.family.predictors)
        if num_predictors == 1:
            return eta
        return tf.reshape(eta, [num_predictors, -1, tf.shape(eta)[1]])

    def log_likelihood(self, there: Unwhitened, given: Given) -> Tensor:
        """(n, c) log density of each row, once however many observations it stands for."""
        own = self.coordinates.own_values(there.x)
        return log_density(self.family, self.predictors(there, given), given.response, own)

    def log_prob(self, w: Tensor, metric: Metric, given: Given) -> Tensor:
        """(c,) the log density, up to a constant, at positions w (c, d + q)."""
        there = self.unwhitened(tf.transpose(w), metric, given)
        rows = given.counts[:, None] * self.log_likelihood(there, given)
        return there.value + self.prior(there.natural) + tf.reduce_sum(rows, axis=0)

    def joint_log_prob(self, effects: Sequence[Tensor], given: Given) -> Tensor:
        """The log density of effects (l, k) and rows at the coordinates' start, as the joint distribution's.

        Nothing of the coordinates of effects is in it: it is what those must not change.
        """
        x = tf.constant(self.coordinates.start[:, None])
        natural, _ = self.coordinates.natural(x)
        value = tf.zeros([], x.dtype)
        for term, b in zip(self.coordinates.terms, effects, strict=True):
            factor = term.factor(natural)[0]
            u = tf.linalg.triangular_solve(factor, tf.transpose(b))
            logs = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)))
            each = float(np.log(2.0 * np.pi)) * term.num_columns / 2.0 + logs
            value += -0.5 * tf.reduce_sum(u * u) - each * tf.cast(tf.shape(b)[0], x.dtype)
        there = Unwhitened(x, natural, tuple(b[:, :, None] for b in effects), value[None])
        rows = given.counts[:, None] * self.log_likelihood(there, given)
        return value + tf.reduce_sum(rows)

    @staticmethod
    def _log_prior_of(u: Tensor, df: Tensor | None) -> Tensor:
        """(c,) log density of spherical effects, up to a constant."""
        if df is None:
            return -0.5 * tf.reduce_sum(u * u, axis=[0, 1])
        zero, one = tf.zeros([], u.dtype), tf.ones([], u.dtype)
        rows = tfp.distributions.StudentT(df, zero, one).log_prob(u)
        return tf.reduce_sum(rows, axis=[0, 1])


def _spherical(factor: Tensor, z: Tensor, near: Expansion, moved: Tensor) -> tuple[Tensor, Tensor]:
    """u (l, k, c) from z, and the log determinant (c,) of its derivative."""
    k = z.shape[1]
    if k > MOST_COLUMNS:
        return z, tf.zeros([tf.shape(z)[2]], z.dtype)
    slopes = near.slopes[:, :, None]
    if moved.shape[0]:
        slopes -= tf.tensordot(near.pulls, moved, axes=[[2], [0]])
    # Lambda' W Lambda and Lambda' c, elements (l, c) of small matrices written out.
    along = [
        [sum(near.weights[:, a, b, None] * factor[b, j] for b in range(j, k)) for j in range(k)]
        for a in range(k)
    ]
    root = np.empty((k, k), object)
    for j in range(k):
        for i in range(j, k):
            value = sum(factor[a, i] * along[a][j] for a in range(i, k))
            value = value - sum(root[i, m] * root[j, m] for m in range(j))
            root[i, j] = tf.sqrt(1.0 + value) if i == j else value / root[j, j]
    half: list[Tensor] = []
    for i in range(k):
        value = sum(factor[a, i] * slopes[:, a] for a in range(i, k))
        half.append((value - sum(root[i, m] * half[m] for m in range(i))) / root[i, i])
    u: list[Tensor] = [None] * k
    for i in reversed(range(k)):
        rest = sum(root[m, i] * u[m] for m in range(i + 1, k))
        u[i] = (half[i] + z[:, i] - rest) / root[i, i]
    logs = sum(tf.math.log(root[i, i]) for i in range(k))
    return tf.stack(u, axis=1), -tf.reduce_sum(logs, axis=0)


def _apply(factor: Tensor, u: Tensor) -> Tensor:
    """Lambda u, (l, k, c), for the factors (k, k, c) of each chain."""
    k = u.shape[1]
    return tf.stack([sum(factor[i, j] * u[:, j] for j in range(i + 1)) for i in range(k)], axis=1)
