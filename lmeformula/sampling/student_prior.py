"""Effects with heavy tails: a multivariate t prior in coordinates that a Gaussian stand-in of it whitens.

At the mode of the effects a level's t density has the pull of a Gaussian one whose precision is
d = (df + k) / (df + |u|^2), its EM weight. With v = d^(1/2) u the stand-in's prior is N(0, I), and rows whose
columns are divided by d^(1/2) read v as those of a Gaussian model read u: layout, factors and whitening are
that model's. What is sampled has the t density itself, so that nothing rests on the stand-in but speed.

Newton control variates hold for any density whose gradient they are given (Stein's identity); the scores of
the scale matrix weigh each level by (df + k) / (df + |u|^2).

Reference: Lange, Little, Taylor (1989), JASA 84, 881-896, of modeling with the t distribution.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from lmeformula.arrays import Tensor
from lmeformula.covariance.student import LEAST_FREEDOM
from lmeformula.em.types import Evaluated, Scores
from lmeformula.family.gammas import log_rising
from lmeformula.sampling import whitened
from lmeformula.sampling.whitened import Draws, Kind, RowDensity, Rows, Sizes, Whitening


class StudentWhitening(NamedTuple):
    """A whitening of the Gaussian stand-in; terms in the order of the effects.

    Attributes:
      base: the stand-in's, in v.
      roots: (l,) d^(-1/2) of each level of each term: u = root v; ones where effects are Gaussian.
      freedom: () log(df - 1) of each term; any number where they are Gaussian.
    """

    base: Whitening
    roots: tuple[Tensor, ...]
    freedom: tuple[Tensor, ...]


class StudentKind(NamedTuple):
    """What programs are compiled for besides the shapes of arrays.

    Attributes:
      base: of the terms.
      is_student: which terms have a t prior, in the order of the effects.
    """

    base: Kind
    is_student: tuple[bool, ...]

    def sizes(self, rows: Rows) -> StudentSizes:
        """With the numbers of levels that rows have."""
        return StudentSizes(self.base.sizes(rows), self.is_student)


class StudentSizes(NamedTuple):
    """What is fixed when the program is compiled.

    Attributes:
      base: of the terms.
      is_student: which terms have a t prior, in the order of the effects.
    """

    base: Sizes
    is_student: tuple[bool, ...]


def log_prior(square: Tensor, free: Tensor, k: int) -> Tensor:
    """Log density of t at |u|^2 less the logarithm of (2 pi)^(-k / 2), elementwise.

    Args:
      square: |u|^2.
      free: log(df - 1), of a shape that goes with it.
      k: number of coefficients.
    """
    df = LEAST_FREEDOM + tf.exp(free)
    half = tf.cast(0.5, square.dtype)
    # Gamma((df + k) / 2) / Gamma(df / 2) goes as (df / 2)^(k / 2): the two logarithms are subtracted early.
    norm = log_rising(half * df, tf.fill(tf.shape(df), half * k)) - half * k * tf.math.log(
        half * df
    )
    return norm - half * (df + k) * tf.math.log1p(square / df)


def density(
    sizes: StudentSizes, of_rows: RowDensity, white: StudentWhitening, rows: Rows, z: Tensor
) -> tuple[Tensor, Tensor]:
    """Log joint density (c,) of y and v, and its gradient (q, c) in z."""
    scaled = _scaled(rows, white)
    at = whitened.draws_at(sizes.base, of_rows, white.base, scaled, z)
    return _density(sizes, white, scaled, at)


def scores(
    sizes: StudentSizes,
    of_rows: RowDensity,
    white: StudentWhitening,
    rows: Rows,
    z: Tensor,
    gradient: Tensor,
) -> Scores:
    """The complete-data scores in psi, raw and controlled; see `whitened.scores`, whose variates they take."""
    scaled = _scaled(rows, white)
    at = whitened.draws_at(sizes.base, of_rows, white.base, scaled, z)
    return _scores(sizes, of_rows, white, scaled, at, gradient)


def effects_of(sizes: StudentSizes, white: StudentWhitening, rows: Rows, z: Tensor) -> Tensor:
    """The random effects b = Lambda u (q, c) at z (q, c)."""
    shift, _ = whitened.spread(sizes.base, white.base, _scaled(rows, white), z)
    return _effects(sizes, white, shift)


def evaluated(
    sizes: StudentSizes, of_rows: RowDensity, white: StudentWhitening, rows: Rows, z: Tensor
) -> Evaluated:
    """All of that at z (q, c)."""
    scaled = _scaled(rows, white)
    at = whitened.draws_at(sizes.base, of_rows, white.base, scaled, z)
    value, gradient = _density(sizes, white, scaled, at)
    found = _scores(sizes, of_rows, white, scaled, at, gradient)
    return Evaluated(value, gradient, found, _effects(sizes, white, at.shift))


def _density(
    sizes: StudentSizes, white: StudentWhitening, rows: Rows, at: Draws
) -> tuple[Tensor, Tensor]:
    base, effects = white.base, white.base.modes[:, None] + at.shift
    total, pulls = tf.reduce_sum(at.value, axis=0), []
    for j, v in enumerate(sizes.base.split(effects)):
        levels, k = sizes.base.terms[j]
        pull = v
        if sizes.is_student[j]:
            root = white.roots[j]
            u = root[:, None, None] * v
            square = tf.reduce_sum(u**2, axis=1)
            exists = rows.exists[j]
            prior = exists[:, None] * log_prior(square, white.freedom[j], k)
            total += tf.reduce_sum(prior, axis=0) + k * tf.reduce_sum(exists * tf.math.log(root))
            pull = (root[:, None] * _weights(square, white.freedom[j], k))[:, None] * u
        else:
            total -= 0.5 * tf.reduce_sum(v**2, axis=[0, 1])
        pulls.append(tf.reshape(pull, [levels * k, -1]))
    gradient = whitened.gather_up(sizes.base, base, rows, at.slope, tf.concat(pulls, axis=0))
    return total, gradient


def _scores(
    sizes: StudentSizes,
    of_rows: RowDensity,
    white: StudentWhitening,
    rows: Rows,
    at: Draws,
    gradient: Tensor,
) -> Scores:
    base = white.base
    found = whitened.scores_at(sizes.base, of_rows, base, rows, at, gradient)
    chains = tf.zeros_like(gradient[:1])
    more = []
    for j, v in enumerate(sizes.base.split(base.modes[:, None] + at.shift)):
        k, changes = sizes.base.terms[j][1], base.changes[j]
        if not sizes.is_student[j]:
            more.append(tf.zeros([changes.shape[0], 1], gradient.dtype) + chains)
            continue
        u = white.roots[j][:, None, None] * v
        square = tf.reduce_sum(u**2, axis=1)
        weighted = _weights(square, white.freedom[j], k)[:, None] * u
        second = tf.einsum("lac,lbc->abc", weighted, u) - tf.einsum("lac,lbc->abc", v, v)
        of_scale = tf.einsum("tab,bac->tc", changes, second)
        # A copy of the parameter for each chain makes its derivative that of the chain.
        copies = white.freedom[j] + chains[0]
        with tf.GradientTape() as tape:
            tape.watch(copies)
            prior = rows.exists[j][:, None] * log_prior(square, copies, k)
        of_freedom = tape.gradient(prior, copies)
        more.append(of_scale + tf.concat([tf.zeros_like(of_scale[:-1]), of_freedom[None]], axis=0))
    ordered = [more[j] for j in sizes.base.formula_order]
    p, d = rows.X.shape[1], base.bends.shape[0]
    size = sum(int(each.shape[0]) for each in more)
    added = tf.concat(
        [
            tf.zeros([p, 1], gradient.dtype) + chains,
            *ordered,
            tf.zeros([d - p - size, 1], gradient.dtype) + chains,
        ],
        axis=0,
    )
    # The variates of the scale matrix grow with the square of effects whose tails may have no variance, where
    # its scores themselves are bounded: those go without.
    return Scores(
        found.raw + added,
        tf.where(_is_free(sizes, base, p, d), found.controlled, found.raw) + added,
    )


def _is_free(sizes: StudentSizes, base: Whitening, p: int, d: int) -> Tensor:
    """(d, 1) which parameters' scores take their variates: not those of heavy-tailed terms."""
    by_term = [
        [not is_student] * int(change.shape[0])
        for is_student, change in zip(sizes.is_student, base.changes, strict=True)
    ]
    of_terms = [take for j in sizes.base.formula_order for take in by_term[j]]
    return tf.constant([True] * p + of_terms + [True] * (d - p - len(of_terms)))[:, None]


def _effects(sizes: StudentSizes, white: StudentWhitening, shift: Tensor) -> Tensor:
    base = white.base
    parts = sizes.base.split(base.modes[:, None] + shift)
    found = [
        whitened.apply(factor, root[:, None, None] * part)
        for factor, root, part in zip(base.factors, white.roots, parts, strict=True)
    ]
    return tf.concat(
        [
            tf.reshape(part, [levels * k, -1])
            for part, (levels, k) in zip(found, sizes.base.terms, strict=True)
        ],
        axis=0,
    )


def _weights(square: Tensor, free: Tensor, k: int) -> Tensor:
    df = LEAST_FREEDOM + tf.exp(free)
    return (df + k) / (df + square)


def _scaled(rows: Rows, white: StudentWhitening) -> Rows:
    """Rows that read v."""
    values = tuple(
        value * tf.gather(root, code)[:, None]
        for value, root, code in zip(rows.values, white.roots, rows.codes, strict=True)
    )
    return rows._replace(values=values)
