"""Design and start values -> a TFP joint distribution, a part per term and one for the response."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Floats, Tensor
from lmeformula.covariance.structure import Structure
from lmeformula.covariance.student import LEAST_FREEDOM
from lmeformula.covariance.table import structure_of
from lmeformula.design.design import Design, TermBlock
from lmeformula.errors import ModelError
from lmeformula.family import NO_OWN, Family
from lmeformula.family import family as find_family
from lmeformula.family.rowwise import weighted_rows
from lmeformula.model.mixed import MixedJointDistribution, PinnedJoint
from lmeformula.model.notation import is_correlated, names_of
from lmeformula.model.params import Params
from lmeformula.model.regular import held_up
from lmeformula.model.start import FIRST_FREEDOM
from lmeformula.model.startable import check_start

tfb, tfd = tfp.bijectors, tfp.distributions

Variable: TypeAlias = Any
Distribution: TypeAlias = Any


@dataclass(frozen=True, eq=False, repr=False)
class Joint:
    """The joint distribution of a model's random effects and response, and its trainable variables.

    Attributes:
      distribution: the tfd.JointDistributionNamed. A term of one coefficient is a part of event
        shape (l,), a term of k coefficients one of (l, k); the response is one of (n,).
      variables: in the order of the formula, the fixed effects (`intercept`, `effect_x`), standard
        deviations (`stddev_g`: scalar, or (k,)), Cholesky factors of correlations
        (`correlation_g`: (k, k); of cs and ar1 their one correlation, a scalar), of t
        distributions degrees of freedom (`df_g`), and the family's own, such
        as `sigma` or `thresholds`. All but the fixed effects are `tfp.util.TransformedVariable`s.
      names: the part of each term, from the name that the term has in the design.
      response: the name of the response's part.
      observed: (n,) the response in the data, on the scale of its part (counts of successes for a
        binomial response).
    """

    distribution: Distribution
    variables: Mapping[str, Variable]
    names: Mapping[str, str]
    response: str
    observed: Tensor = field(repr=False)

    @property
    def trainable_variables(self) -> tuple[Variable, ...]:
        """The unconstrained tf.Variable behind each of `variables`, as optimizers take them."""
        return tuple(
            variable if isinstance(variable, tf.Variable) else variable.pretransformed_input
            for variable in self.variables.values()
        )

    def pin(self, **values: Tensor) -> PinnedJoint:
        """The joint density at given parts; without any, at the observed response."""
        return PinnedJoint(self.distribution, **(values or {self.response: self.observed}))

    def __repr__(self) -> str:
        shapes = self.distribution.event_shape
        parts = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        return f"Joint(parts: {parts}; variables: {', '.join(self.variables)})"


# Most levels with a known covariance of which a density is worked out: its factor is dense.
MOST_RELATED = 3000


def build_joint(
    design: Design,
    start: Params,
    *,
    family: Any = "gaussian",
    sigma: float | None = None,
    dtype: str = "float64",
    rows: tuple[Floats, ...] | None = None,
    fitted: Design | None = None,
) -> Joint:
    """Build the joint distribution of random effects and response.

    Everything that depends on a variable is evaluated when the density is, so that gradients reach
    all of them; the data enter as constants.

    Args:
      design: the data as arrays.
      start: where the variables start; what is singular is held up by as little as a density needs.
      family: the response's family, by name or as a record.
      sigma: a residual standard deviation to hold fixed; None to make it a variable.
      dtype: "float64" or "float32".
      rows: the response's arrays, as the family reads them; from the design by default.
      fitted: the design that the family's own parameters were learned from; this one by default.
    Returns:
      joint: the distribution, its variables and the observed response.
    Raises:
      ModelError: the design has no response or one that the family does not take, the covariance structure has
        no joint distribution here, or the start values do not fit the design.
    Example:
      >>> from lmeformula.design.design import ResponseBlock
      >>> from lmeformula.formula.formula import Formula
      >>> from lmeformula.formula.ir import Column, FixedPart, Response, TermSum
      >>> from lmeformula.model.params import Params
      >>> term = TermBlock("g", ("Intercept",), np.ones((3, 1)), "g", ("g",), ("a", "b"),
      ...                  np.array([0, 0, 1], np.int32))
      >>> formula = Formula(Response(Column("y")), FixedPart(TermSum(True, ())), ())
      >>> design = Design(formula, ResponseBlock("y", "numeric", np.array([1.0, 2.0, 4.0])),
      ...                 np.ones((3, 1)), ("Intercept",), (term,), (np.zeros(3),), None, np.arange(3))
      >>> start = Params(np.array([1.0]), (np.array([[4.0]]),), np.array([0.5]))
      >>> joint = build_joint(design, start)
      >>> joint
      Joint(parts: g (2,), y (3,); variables: intercept, stddev_g, sigma)
      >>> joint.distribution.resolve_graph()
      (('g', ()), ('y', ('g',)))
    """
    rule = find_family(family)
    rows = rule.response(design) if rows is None else rows
    check_start(design, start, rule, sigma)

    names = names_of(design)
    variables: dict[str, Variable] = {}
    model: OrderedDict[str, Any] = OrderedDict()

    effects = fixed_effects(names.effects, start.beta, dtype)
    variables.update(effects)
    unit = 1.0
    if rule.is_normal:
        unit = float(start.own[0]) if sigma is None else sigma
    for term, prior, part in zip(design.terms, start.distributions, names.terms, strict=True):
        regular = held_up(prior.scale, unit)
        model[part], of_term = random_effects(term, regular, part, dtype, prior.df)
        variables.update(of_term)
    own, of_family = own_parameters(fitted or design, start, rule, sigma, dtype)
    variables.update(of_family)
    model[names.response] = ResponsePart(
        design, rule, rows, names.terms, tuple(effects.values()), own, dtype
    )

    def build_again() -> Distribution:
        return build_joint(
            design, start, family=rule, sigma=sigma, dtype=dtype, rows=rows, fitted=fitted
        ).distribution

    return Joint(
        distribution=MixedJointDistribution(model, build_again),
        variables=MappingProxyType(variables),
        names=MappingProxyType(
            {t.name: part for t, part in zip(design.terms, names.terms, strict=True)}
        ),
        response=names.response,
        observed=tf.constant(rows[0], dtype),
    )


# ---- parts --------------------------------------------------------------------------------------


def fixed_effects(names: Sequence[str], beta: Floats, dtype: str) -> dict[str, Variable]:
    """One scalar variable per fixed column."""
    return {
        name: tf.Variable(float(value), dtype=dtype, name=name)
        for name, value in zip(names, beta, strict=True)
    }


def random_effects(
    term: TermBlock, covariance: Floats, part: str, dtype: str, freedom: float = np.inf
) -> tuple[Distribution, dict[str, Variable]]:
    """The distribution of a term's effects, levels independent, and its variables."""
    k, num_levels = len(term.columns), len(term.levels)
    sd = np.sqrt(np.diag(covariance))
    if term.prior.has_df:
        return student_effects(term, float(sd[0]), part, dtype, freedom)
    if k == 1:
        stddev = positive(sd[0], dtype, f"stddev_{part}")
        if term.relation is not None:
            return related_effects(term, stddev, dtype), {f"stddev_{part}": stddev}
        level = tfd.Normal(tf.zeros([], dtype), stddev)
        return tfd.Sample(level, num_levels), {f"stddev_{part}": stddev}

    structure = structure_of(term)
    if structure.correlations in ("known", "factors"):
        factor, variables = whole_factor(term, structure, covariance, part, dtype)
        if term.relation is not None:
            return related_effects(term, factor, dtype), variables
        return tfd.Sample(tfd.MultivariateNormalTriL(scale_tril=factor), num_levels), variables
    start = np.sqrt(np.mean(sd**2)) if term.homogeneous else sd
    stddev = positive(start, dtype, f"stddev_{part}")
    variables = {f"stddev_{part}": stddev}
    if not is_correlated(term):
        if term.relation is not None:
            spread = tfp.util.DeferredTensor(
                stddev, lambda value: tf.linalg.diag(tf.broadcast_to(value, [k])), shape=(k, k)
            )
            return related_effects(term, spread, dtype), variables
        level = tfd.Independent(tfd.Normal(tf.zeros([k], dtype), stddev), 1)
        return tfd.Sample(level, num_levels), variables

    value, bijector = structure.tfp_correlation(covariance / np.outer(sd, sd), dtype)
    correlation = tfp.util.TransformedVariable(
        tf.constant(value, dtype), bijector, name=f"correlation_{part}"
    )
    variables[f"correlation_{part}"] = correlation
    factor = tfp.util.DeferredTensor(
        # Evaluated when the density is: a product here would be a constant, which no gradient passes.
        correlation,
        lambda value: tf.broadcast_to(stddev, [k])[:, tf.newaxis] * structure.tfp_factor(value, k),
        shape=(k, k),
        also_track=stddev,
    )
    if term.relation is not None:
        return related_effects(term, factor, dtype), variables
    level = tfd.MultivariateNormalTriL(scale_tril=factor)
    return tfd.Sample(level, num_levels), variables


def whole_factor(
    term: TermBlock, structure: Structure, covariance: Floats, part: str, dtype: str
) -> tuple[Any, dict[str, Variable]]:
    """The factor (k, k) of a covariance that is known, or of a few factors, and its variables.

    Raises:
      ModelError: if a known one is singular.
    """
    k = len(term.columns)
    theta = structure.to_free(covariance)
    if structure.correlations == "factors" and not structure.num_sds(k):
        loadings = tf.Variable(theta, dtype=dtype, name=f"loadings_{part}")
        # Held up by next to nothing across its factors: a density needs full rank.
        factor = tfp.util.DeferredTensor(
            loadings, lambda value: structure.tfp_factor(value, k), shape=(k, k)
        )
        return factor, {f"loadings_{part}": loadings}
    if structure.correlations == "known" and structure.rank(k) < k:
        raise ModelError(
            f"the matrix of {term.covariance}() is singular: effects with it have no density",
            hint="fit.simulate draws them.",
        )
    if not len(theta):
        return tf.constant(structure.cholesky(theta, k), dtype), {}
    start = np.exp(theta if structure.correlations == "factors" else theta[0])
    stddev = positive(start, dtype, f"stddev_{part}")
    factor = tfp.util.DeferredTensor(
        stddev, lambda value: structure.tfp_factor(value, k), shape=(k, k)
    )
    return factor, {f"stddev_{part}": stddev}


def related_effects(term: TermBlock, spread: Any, dtype: str) -> Distribution:
    """The effects (l,) or (l, k) of levels with a known covariance, from an sd, or from a factor (k, k).

    Raises:
      ModelError: if that has no density, or is too large to be dense.
    """
    relation = term.relation
    assert relation is not None
    count, k = len(term.levels), len(term.columns)
    if count > MOST_RELATED:
        raise ModelError(
            f"the joint distribution of {count:,} related levels would be a dense matrix of as many rows",
            hint="fit.simulate and fit.predict take them as they are.",
        )
    root = relation.dense_root()
    try:
        lower = np.linalg.cholesky(root @ root.T)
    except np.linalg.LinAlgError:
        raise ModelError(
            f"the covariance '{relation.name}' is singular: effects with it have no density",
            hint="fit.simulate draws them.",
        ) from None
    known = tf.constant(lower, dtype)
    if k == 1:
        factor = tfp.util.DeferredTensor(spread, lambda sd: sd * known, shape=(count, count))
        return tfd.MultivariateNormalTriL(scale_tril=factor)
    rows = tf.linalg.LinearOperatorLowerTriangular(known)
    columns = tf.linalg.LinearOperatorLowerTriangular(spread)
    return tfd.MatrixNormalLinearOperator(tf.zeros([count, k], dtype), rows, columns)


def student_effects(
    term: TermBlock, scale: float, part: str, dtype: str, freedom: float = np.inf
) -> tuple[Distribution, dict[str, Variable]]:
    """The t distribution of a term of one coefficient, from its scale."""
    stddev = positive(scale, dtype, f"stddev_{part}")
    least = tf.constant(LEAST_FREEDOM, dtype)
    freedom = tfp.util.TransformedVariable(
        tf.constant(freedom if np.isfinite(freedom) else FIRST_FREEDOM, dtype),
        tfb.Chain([tfb.Shift(least), tfb.Exp()]),
        name=f"df_{part}",
    )
    level = tfd.StudentT(freedom, tf.zeros([], dtype), stddev)
    variables = {f"stddev_{part}": stddev, f"df_{part}": freedom}
    return tfd.Sample(level, len(term.levels)), variables


def own_parameters(
    design: Design, start: Params, rule: Family, sigma: float | None, dtype: str
) -> tuple[Variable | Tensor | None, dict[str, Variable]]:
    """The family's own parameters, as a scalar or a vector, and their variable where they are not fixed."""
    own = rule.own(design.first)
    if own is NO_OWN:
        return None, {}
    if sigma is not None:
        return tf.constant(float(sigma), dtype), {}
    natural = np.asarray(start.own)
    # A bijector of vectors takes the whole, one of scalars the single element.
    bijector = own.scale.bijector()
    value = natural if bijector.forward_min_event_ndims else natural[0]
    variable = tfp.util.TransformedVariable(tf.constant(value, dtype), bijector, name=own.variable)
    return variable, {own.variable: variable}


class ResponsePart(tf.Module):  # type: ignore[misc]
    """The response given the random effects.

    A module, since TFP does not look for variables inside functions; its signature names the parts
    that it depends on, which is how a JointDistributionNamed finds its graph.
    """

    def __init__(
        self,
        design: Design,
        rule: Family,
        rows: tuple[Floats, ...],
        parents: Sequence[str],
        effects: Sequence[Variable],
        own: Variable | Tensor | None,
        dtype: str,
    ) -> None:
        super().__init__(name="response")
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(p, kind) for p in parents])
        self._rule = rule
        self._rows = tuple(tf.constant(array, dtype) for array in rows)
        self._parents = tuple(parents)
        self._effects = tuple(effects)
        self._own = own
        times = design.frequency
        self._frequency = None if times is None else tf.constant(times, dtype)
        self._X = tf.constant(design.X, dtype)
        self._offsets = tf.constant(np.array(design.offsets), dtype)
        self._terms = tuple(term.predictors for term in design.terms)
        # Whether each column of X adds to each predictor: (K, p); None where there is one.
        self._of_columns = None
        if design.num_predictors > 1:
            places = np.array(design.column_predictors, int)
            wanted = np.arange(design.num_predictors)[:, None] == places
            self._of_columns = tf.constant(wanted.astype(float), dtype)
        self._indexes = tuple(tf.constant(term.index) for term in design.terms)
        self._shares = tuple(
            None if term.shares is None else tf.constant(term.shares, dtype)
            for term in design.terms
        )
        self._values = tuple(
            None
            if len(term.columns) == 1 and np.all(term.values == 1.0)
            else tf.constant(term.values, dtype)
            for term in design.terms
        )

    def __call__(self, /, **parts: Tensor) -> Distribution:
        """The distribution of the (n,) responses; `parts` may have leading sample dimensions."""
        # Read here, not before: the gradient passes through the variable's transformation.
        own: tuple[Tensor, ...] = ()
        if self._own is not None:
            values = tf.convert_to_tensor(self._own)
            own = tuple(tf.unstack(values)) if values.shape.rank else (values,)
        eta = self.linear_predictors(parts)
        rows = weighted_rows(self._rule, eta, self._rows, own, self._frequency)
        return tfd.Independent(rows, 1)

    def _linear_predictor(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The one predictor, (..., n)."""
        eta = self._offsets[0]
        if self._effects:
            eta = eta + tf.linalg.matvec(self._X, tf.stack(self._effects))
        for place, (part, values) in enumerate(zip(self._parents, self._values, strict=True)):
            b = parts[part]
            if values is None:
                eta = eta + self._of_rows(place, b)
            elif values.shape[1] == 1:
                eta = eta + values[:, 0] * self._of_rows(place, b)
            else:
                each = self._of_rows(place, b, axis=-2)
                eta = eta + tf.reduce_sum(values * each, axis=-1)
        return eta

    def _of_rows(self, term: int, effects: Tensor, axis: int = -1) -> Tensor:
        """(..., n) or (..., n, k) what rows read of a term's effects (..., l) or (..., l, k)."""
        index, shares = self._indexes[term], self._shares[term]
        if shares is None:
            return tf.gather(effects, index, axis=axis)
        total = tf.zeros([], shares.dtype)
        for member in range(index.shape[1]):
            share = shares[:, member] if axis == -1 else shares[:, member, None]
            total += share * tf.gather(effects, index[:, member], axis=axis)
        return total

    def linear_predictors(self, parts: Mapping[str, Tensor]) -> Tensor:
        """eta = X beta + Z b + offset, (..., K, n)."""
        if self._of_columns is None:
            return self._linear_predictor(parts)[..., None, :]
        offsets = self._offsets
        if self._effects:
            beta = self._of_columns * tf.stack(self._effects)
            offsets = offsets + tf.matmul(beta, self._X, transpose_b=True)
        etas = tf.unstack(offsets)
        for term, (part, values, places) in enumerate(
            zip(self._parents, self._values, self._terms, strict=True)
        ):
            rows = self._of_rows(term, parts[part], axis=-1 if len(places) == 1 else -2)
            for column, place in enumerate(places):
                of_column = rows if len(places) == 1 else rows[..., column]
                etas[place] += of_column if values is None else values[:, column] * of_column
        shape = functools.reduce(tf.broadcast_static_shape, [eta.shape for eta in etas])
        return tf.stack([tf.broadcast_to(eta, shape) for eta in etas], axis=-2)


def positive(start: Any, dtype: str, name: str) -> Variable:
    """A positive variable, unconstrained on the log scale."""
    return tfp.util.TransformedVariable(tf.constant(start, dtype), tfb.Exp(), name=name)
