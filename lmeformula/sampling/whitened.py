"""The log joint density of a mixed model in whitened coordinates, and its scores with Newton control variates.

With spherical effects u (b = Lambda u), conditional modes u_hat and M = L L' the negative Hessian of the log
joint density in u at some weights W, the sampler moves z in u = u_hat + L^-T z, where the posterior is close
to N(0, I). Everything is linear in the rows: each evaluation reads each term's rows twice and sums them twice.

The Newton step at a draw, delta = M^-1 grad = L^-T grad_z, has expectation zero, and
E[(u + u_hat)' delta] = -tr(M^-1) on any block of u (Stein's identity); so has E[(u - u_hat)' S delta], for
any symmetric S, -tr(M^-1 S). Added to the scores these take their variance away, that of their linear and of
their quadratic part in the predictor, as far as the posterior is Gaussian, and bias nothing where it is not.
`Cubic` goes on in the same way.

References: Stein (1981), Ann. Statist. 9, 1135-1151; Mira, Solgi, Imparato (2013), Stat. Comput. 23, 653-662,
for gradients as control variates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from lmeformula.arrays import Tensor
from lmeformula.em.types import Evaluated, Scores
from lmeformula.sampling.roots import BlockRoot, inverse_down, inverse_up


class RowDensity(NamedTuple):
    """The log density of rows given their predictors; the family's own parameters are unconstrained.

    Attributes:
      slope: (eta (n, c), Rows, extra (f,)) -> log density (n, c) and its derivative in eta (n, c).
      own_scores: the same -> (f, c) derivative of the summed log density in the own parameters.
    """

    slope: Callable[[Tensor, Rows, Tensor], tuple[Tensor, Tensor]]
    own_scores: Callable[[Tensor, Rows, Tensor], Tensor]


class Rows(NamedTuple):
    """The data, a row each.

    Attributes:
      response: arrays, n in front, that the family's density reads: the response first.
      X: (n, p).
      codes: (n,) int32 level of each term.
      values: (n, k) columns of each term.
      counts: (n,) how many observations each row stands for, 0 of what is there for padding.
      exists: (l,) of each term the same of its levels.
    """

    response: tuple[Tensor, ...]
    X: Tensor
    codes: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    counts: Tensor
    exists: tuple[Tensor, ...]


class Cubic(NamedTuple):
    """A control variate for the cubic part of what the others leave; see `sampling.variates`.

    Attributes:
      half: (n,) half the third derivative of the log density in the predictor.
      twist: (n, d) a sixth of the third derivative in the row's predictor of what is left of each score in psi
        when its linear control variate is added.
      blocks: (l, d, k, k) of each term: near M^-1 times what each score's quadratic part is the form of.
      linear: (q, d) of what makes up for the variate's mean.
    """

    half: Tensor
    twist: Tensor
    blocks: tuple[Tensor, ...]
    linear: Tensor


class Whitening(NamedTuple):
    """Where the posterior is and how it is spread, at one parameter vector; see `whitening`.

    Terms are in the order of the effects: the lead term first.

    Attributes:
      eta: (n,) linear predictor at the conditional modes.
      modes: (q,) u_hat.
      weights: (n,) W.
      factors: (k, k) Lambda of each term, absolute.
      lead_inverse: (l, k, k) inverse Cholesky factors of the lead term's blocks of M.
      rest_inverse: (r, r) inverse Cholesky factor of the Schur complement, or a BlockRoot near it: M stands for
        the L L' that this makes, here and in the traces.
      pull: (q, p + f) derivative in u of the scores of the fixed effects and of the family's own parameters.
      traces: (k, k) sum of the diagonal blocks of M^-1 of each term.
      changes: (t, k, k) Lambda^-1 d Lambda / d theta of each term.
      levels: () number of levels of each term.
      bend: (n, d) half the second derivative in the row's predictor of what is left of each score in psi when
        its linear control variate is added.
      bends: (d,) the sum of `bend` over the rows, each times the row's leverage.
      cubic: a further control variate; () for none, where the density of the rows is quadratic or of several
        predictors.
      extra: (f,) the family's own parameters, unconstrained.
      prior: (d,) derivative of the log density of priors in psi; () of a model without any.
    """

    eta: Tensor
    modes: Tensor
    weights: Tensor
    factors: tuple[Tensor, ...]
    lead_inverse: Tensor
    rest_inverse: Tensor | BlockRoot
    pull: Tensor
    traces: tuple[Tensor, ...]
    changes: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    bend: Tensor
    bends: Tensor
    cubic: Cubic | tuple[()]
    extra: Tensor
    prior: Tensor | tuple[()] = ()


class Kind(NamedTuple):
    """What programs are compiled for besides the shapes of arrays.

    Attributes:
      columns: k of each term, lead first.
      formula_order: for each term of the formula, its place in these.
      has_own: whether psi ends with the family's own parameters.
    """

    columns: tuple[int, ...]
    formula_order: tuple[int, ...]
    has_own: bool

    def sizes(self, rows: Rows) -> Sizes:
        """With the numbers of levels that rows have."""
        levels = [int(each.shape[0]) for each in rows.exists]
        return Sizes(
            tuple(zip(levels, self.columns, strict=True)), self.formula_order, self.has_own
        )


class Sizes(NamedTuple):
    """What is fixed when the program is compiled.

    Attributes:
      terms: (l, k) of each term, lead first.
      formula_order: for each term of the formula, its place in `terms`.
      has_own: whether psi ends with the family's own parameters.
    """

    terms: tuple[tuple[int, int], ...]
    formula_order: tuple[int, ...]
    has_own: bool

    @property
    def lead(self) -> int:
        """Number of effects of the lead term."""
        return self.terms[0][0] * self.terms[0][1]

    def split(self, effects: Tensor) -> list[Tensor]:
        """(q, c) effects as (l, k, c) of each term."""
        parts = tf.split(effects, [levels * k for levels, k in self.terms], axis=0)
        return [
            tf.reshape(part, [levels, k, -1])
            for part, (levels, k) in zip(parts, self.terms, strict=True)
        ]


def spread(sizes: Sizes, white: Whitening, rows: Rows, z: Tensor) -> tuple[Tensor, Tensor]:
    """L^-T z, and Z Lambda times it.

    Args:
      sizes: of the terms.
      white: the whitening.
      rows: the data.
      z: (q, c).
    Returns:
      effects: (q, c) L^-T z.
      predictor: (n, c) its part of the linear predictor.
    """
    top = tf.reshape(z[: sizes.lead], [*sizes.terms[0], -1])
    predictor = tf.zeros([tf.shape(rows.X)[0], tf.shape(z)[1]], z.dtype)
    effects = []
    if len(sizes.terms) > 1:
        bottom = inverse_up(white.rest_inverse, z[sizes.lead :])
        start = 0
        for j, (levels, k) in enumerate(sizes.terms[1:], start=1):
            part = tf.reshape(bottom[start : start + levels * k], [levels, k, -1])
            start += levels * k
            predictor += read(rows, j, apply(white.factors[j], part))
        coupling = collect(rows, 0, white.weights[:, None] * predictor, sizes.terms[0])
        top -= tf.matmul(white.lead_inverse, apply(white.factors[0], coupling, transpose=True))
        effects.append(bottom)
    lead = tf.matmul(white.lead_inverse, top, transpose_a=True)
    predictor += read(rows, 0, apply(white.factors[0], lead))
    return tf.concat([tf.reshape(lead, [sizes.lead, -1]), *effects], axis=0), predictor


def gather_up(sizes: Sizes, white: Whitening, rows: Rows, slope: Tensor, effects: Tensor) -> Tensor:
    """L^-1 (Lambda'Z' slope - effects): the gradient in z from the row-wise gradient (n, c)."""
    parts = sizes.split(effects)
    collected = collect(rows, 0, slope, sizes.terms[0])
    top = apply(white.factors[0], collected, transpose=True) - parts[0]
    lead = tf.matmul(white.lead_inverse, top)
    found = [tf.reshape(lead, [sizes.lead, -1])]
    if len(sizes.terms) > 1:
        back = tf.matmul(white.lead_inverse, lead, transpose_a=True)
        slope = slope - white.weights[:, None] * read(rows, 0, apply(white.factors[0], back))
        bottom = []
        for j, size in enumerate(sizes.terms[1:], start=1):
            part = apply(white.factors[j], collect(rows, j, slope, size), transpose=True) - parts[j]
            bottom.append(tf.reshape(part, [size[0] * size[1], -1]))
        found.append(inverse_down(white.rest_inverse, tf.concat(bottom, axis=0)))
    return tf.concat(found, axis=0)


def density(
    sizes: Sizes, of_rows: RowDensity, white: Whitening, rows: Rows, z: Tensor
) -> tuple[Tensor, Tensor]:
    """Log joint density (c,) of y and u, and its gradient (q, c) in z."""
    return density_at(sizes, white, rows, draws_at(sizes, of_rows, white, rows, z))


def scores(
    sizes: Sizes, of_rows: RowDensity, white: Whitening, rows: Rows, z: Tensor, gradient: Tensor
) -> Scores:
    """The complete-data scores in psi at z (q, c), where the density has that gradient; see `scores_at`."""
    at = draws_at(sizes, of_rows, white, rows, z)
    return scores_at(sizes, of_rows, white, rows, at, gradient)


def effects_of(sizes: Sizes, white: Whitening, rows: Rows, z: Tensor) -> Tensor:
    """The random effects b = Lambda u (q, c) at z (q, c)."""
    return effects_at(sizes, white, spread(sizes, white, rows, z)[0])


def evaluated(
    sizes: Sizes, of_rows: RowDensity, white: Whitening, rows: Rows, z: Tensor
) -> Evaluated:
    """All of that at z (q, c)."""
    at = draws_at(sizes, of_rows, white, rows, z)
    value, gradient = density_at(sizes, white, rows, at)
    found = scores_at(sizes, of_rows, white, rows, at, gradient)
    return Evaluated(value, gradient, found, effects_at(sizes, white, at.shift))


class Draws(NamedTuple):
    """What the density and the scores at positions share.

    Attributes:
      shift: (q, c) u - u_hat.
      predictor: (n, c) its part of the linear predictor.
      value: (n, c) log density of the rows.
      slope: (n, c) its derivative in the predictor.
    """

    shift: Tensor
    predictor: Tensor
    value: Tensor
    slope: Tensor


def draws_at(sizes: Sizes, of_rows: RowDensity, white: Whitening, rows: Rows, z: Tensor) -> Draws:
    """Where positions z (q, c) are."""
    shift, predictor = spread(sizes, white, rows, z)
    return Draws(
        shift, predictor, *of_rows.slope(white.eta[:, None] + predictor, rows, white.extra)
    )


def density_at(sizes: Sizes, white: Whitening, rows: Rows, at: Draws) -> tuple[Tensor, Tensor]:
    """See `density`."""
    effects = white.modes[:, None] + at.shift
    return (
        tf.reduce_sum(at.value, axis=0) - 0.5 * tf.reduce_sum(effects**2, axis=0),
        gather_up(sizes, white, rows, at.slope, effects),
    )


def scores_at(
    sizes: Sizes,
    of_rows: RowDensity,
    white: Whitening,
    rows: Rows,
    at: Draws,
    gradient: Tensor,
) -> Scores:
    """The complete-data scores in psi = (beta, theta of each term, the family's own), raw and controlled.

    Args:
      sizes: of the terms.
      of_rows: the rows' log density.
      white: the whitening.
      rows: the data.
      at: the draws.
      gradient: (q, c) of the log joint density in z, there.
    Returns:
      (d, c) each.
    """
    shift, predictor = at.shift, at.predictor
    newton, along = spread(sizes, white, rows, gradient)
    effects = white.modes[:, None] + shift
    p = rows.X.shape[1]
    by_predictor = tf.matmul(rows.X, at.slope, transpose_a=True)
    if sizes.has_own:
        own = of_rows.own_scores(white.eta[:, None] + predictor, rows, white.extra)
        by_predictor = tf.concat([by_predictor, own], axis=0)
    controlled = by_predictor + tf.matmul(white.pull, newton, transpose_a=True)
    raw_theta, controlled_theta = [], []
    steps, modes = sizes.split(newton), sizes.split(white.modes[:, None])
    for j, u in enumerate(sizes.split(effects)):
        k = sizes.terms[j][1]
        second = tf.einsum("lac,lbc->abc", u, u)
        # Below the diagonal the step of the later coefficient: where that hardly varies given the earlier ones,
        # its posterior is its prior, and nothing is left of what its small sd magnifies.
        modes_of = modes[j] + tf.zeros_like(u)
        crossed = tf.einsum("lbc,lac->bac", u, steps[j])
        crossed += tf.einsum("lbc,lac->bac", steps[j], modes_of)
        better = second + crossed + white.traces[j][:, :, None]
        identity = white.levels[j] * tf.eye(k, dtype=shift.dtype)[:, :, None]
        raw_theta.append(tf.einsum("tab,bac->tc", white.changes[j], second - identity))
        controlled_theta.append(tf.einsum("tab,bac->tc", white.changes[j], better - identity))
    raw_theta = [raw_theta[j] for j in sizes.formula_order]
    controlled_theta = [controlled_theta[j] for j in sizes.formula_order]
    # The quadratic part of what is left, by the same identity: delta'S (u - u_hat) has the mean -tr(M^-1 S).
    bent = tf.matmul(white.bend, predictor * along, transpose_a=True) + white.bends[:, None]
    if isinstance(white.cubic, Cubic):
        bent += cubic_variate(sizes, white, white.cubic, rows, (shift, predictor), (newton, along))
    return Scores(
        tf.concat([by_predictor[:p], *raw_theta, by_predictor[p:]], axis=0),
        tf.concat([controlled[:p], *controlled_theta, controlled[p:]], axis=0) + bent,
    )


def cubic_variate(
    sizes: Sizes,
    white: Whitening,
    cubic: Cubic,
    rows: Rows,
    moved: tuple[Tensor, Tensor],
    newton: tuple[Tensor, Tensor],
) -> Tensor:
    """(d, c) of mean zero, against the cubic part of the scores.

    Args:
      sizes, white, rows: as for `scores`.
      cubic: what makes the variate.
      moved: u - u_hat (q, c) at the draws, and what it adds to the predictor (n, c).
      newton: the Newton step, likewise.
    """
    (shift, predictor), (step, along) = moved, newton
    product = predictor * along
    found = tf.matmul(cubic.twist, predictor * product, transpose_a=True)
    bent = cubic.half[:, None] * product
    for j, (blocks, part) in enumerate(zip(cubic.blocks, sizes.split(shift), strict=True)):
        pulled = apply(white.factors[j], collect(rows, j, bent, sizes.terms[j]), transpose=True)
        found += tf.einsum("lbc,ldba,lac->dc", pulled, blocks, part)
    return found + tf.matmul(cubic.linear, shift + step, transpose_a=True)


def effects_at(sizes: Sizes, white: Whitening, shift: Tensor) -> Tensor:
    """The random effects b = Lambda u (q, c) at u - u_hat (q, c)."""
    parts = sizes.split(white.modes[:, None] + shift)
    found = [apply(factor, part) for factor, part in zip(white.factors, parts, strict=True)]
    return tf.concat(
        [
            tf.reshape(part, [levels * k, -1])
            for part, (levels, k) in zip(found, sizes.terms, strict=True)
        ],
        axis=0,
    )


def apply(factor: Tensor, part: Tensor, *, transpose: bool = False) -> Tensor:
    """factor (k, k), or its transpose, times (l, k, c)."""
    return tf.einsum("ba,lbc->lac" if transpose else "ab,lbc->lac", factor, part)


def read(rows: Rows, term: int, part: Tensor) -> Tensor:
    """Z times the effects (l, k, c) of one term: (n, c)."""
    index, values = rows.codes[term], rows.values[term]
    found = [values[:, a, None] * tf.gather(part[:, a], index) for a in range(int(part.shape[1]))]
    return tf.add_n(found)


def collect(rows: Rows, term: int, slope: Tensor, size: tuple[int, int]) -> Tensor:
    """Z' times rows (n, c), for one term of (l, k): (l, k, c)."""
    index, values = rows.codes[term], rows.values[term]
    levels, k = size
    return tf.stack(
        [tf.math.unsorted_segment_sum(values[:, a, None] * slope, index, levels) for a in range(k)],
        axis=1,
    )
