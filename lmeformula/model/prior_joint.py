"""The joint distribution of parameters, random effects and response, where every parameter has a proper prior.

Its density at the observed response is that of the posterior, but for a constant; its draws are what the priors
say of responses.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Tensor
from lmeformula.design.design import Design, TermBlock
from lmeformula.errors import ModelError
from lmeformula.family import Family
from lmeformula.family.own import Ascending
from lmeformula.family.rowwise import weighted_rows
from lmeformula.model.joint import ResponsePart
from lmeformula.model.notation import names_of
from lmeformula.model.ordered_prior import Ordered
from lmeformula.model.params import ParamSpace
from lmeformula.model.prior_places import Of
from lmeformula.model.priors import Assigned, Priors
from lmeformula.priors.matrices import LKJ
from lmeformula.priors.record import Scalar

tfb, tfd = tfp.bijectors, tfp.distributions

Distribution = Any


def build_prior_joint(
    design: Design, family: Family, space: ParamSpace, priors: Priors, dtype: str
) -> Distribution:
    """Build the joint distribution of parameters, random effects and response.

    Args:
      design: the data as arrays.
      family: of the response.
      space: the parameters.
      priors: a proper one of each: of coefficients, standard deviations, correlation matrices, and the family's
        own parameters.
      dtype: "float64" or "float32".
    Returns:
      The tfd.JointDistributionNamed. Its parts are those of `Model.joint`, and before them the parameters by
      the names of its variables: fixed effects (`intercept`, `effect_x`), standard deviations (`stddev_g`:
      scalar, or (k,)), Cholesky factors of correlations (`correlation_g`: (k, k), whose density is that of the
      factor), and the family's own.
    Raises:
      ModelError: for parameters without a prior, improper priors, priors of whole covariances or relative to
        sigma, models with several linear predictors, structured covariances, and ordered thresholds with
        priors of their own.
    Example:
      >>> import lmeformula as lf
      >>> priors = {"Intercept": "normal(1500, 100)", "sd": "half_normal(50)", "sigma": "half_normal(50)"}
      >>> design = lf.design("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> model = lf.compile(design, priors=priors)
      >>> draws = model.prior_joint.sample(3, seed=1)
      >>> sorted(draws), tuple(draws["Yield"].shape)
      (['Batch', 'Yield', 'intercept', 'sigma', 'stddev_Batch'], (3, 30))
    """
    _check(design, family, space, priors)
    names, parts = names_of(design), OrderedDict[str, Any]()
    of_fixed = dict(_singles(priors, "fixed", dtype))
    for index, name in enumerate(names.effects):
        parts[name] = of_fixed[index]
    own = space.own
    if own.size:
        each = [found for _, found in sorted(_singles(priors, "own", dtype))]
        if isinstance(own.scale, Ascending) and own.size > 1:
            parts[own.variable] = Ordered(each[0], own.size)
        else:
            parts[own.variable] = _vector(each) if own.size > 1 else each[0]
    for number, (term, part) in enumerate(zip(design.terms, names.terms, strict=True)):
        parts |= _of_term(priors, number, term, part, dtype)
    parts[names.response] = _Response(design, family, space, names.terms, names.effects, dtype)
    return tfd.JointDistributionNamed(parts)


def _singles(priors: Priors, of: Of, dtype: str) -> Iterator[tuple[int, Distribution]]:
    for one in priors.of(of):
        for number in one.indices:
            yield number, cast(Scalar, one.prior).distribution(dtype)


def _vector(parts: Sequence[Distribution]) -> Distribution:
    return tfd.Blockwise(list(parts))


def _of_term(priors: Priors, number: int, term: TermBlock, part: str, dtype: str) -> dict[str, Any]:
    """The parts of a term: its standard deviations, its correlations, and its effects given these."""
    k, num_levels = len(term.columns), len(term.levels)
    sds = {
        place: cast(Scalar, one.prior).distribution(dtype)
        for one in priors.of("sd")
        for place, of in zip(one.indices, one.terms, strict=True)
        if of == number
    }
    found: dict[str, Any] = {}
    stddev, correlation = f"stddev_{part}", f"correlation_{part}"
    found[stddev] = sds[0] if k == 1 else _vector([sds[place] for place in range(k)])
    lkj = [one for one in priors.of("cor") if number in one.terms]
    if lkj:
        shape = cast(LKJ, lkj[0].prior).shape
        found[correlation] = tfd.CholeskyLKJ(k, tf.constant(shape, dtype))

    def effects(**given: Tensor) -> Distribution:
        sd = given[stddev]
        if k == 1:
            return tfd.Sample(tfd.Normal(tf.zeros_like(sd), sd), num_levels)
        if correlation in given:
            factor = sd[..., None] * given[correlation]
            return tfd.Sample(tfd.MultivariateNormalTriL(scale_tril=factor), num_levels)
        return tfd.Sample(tfd.MultivariateNormalDiag(scale_diag=sd), num_levels)

    found[part] = _of_parts(effects, tuple(found))
    return found


def _of_parts(function: Callable[..., Distribution], parts: Sequence[str]) -> Any:
    """A function whose signature names the parts that it depends on, as the joint distribution asks."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    vars(function)["__signature__"] = inspect.Signature(
        [inspect.Parameter(part, kind) for part in parts]
    )
    return function


class _Response(ResponsePart):
    """The response given the random effects, the fixed effects and the family's own parameters."""

    def __init__(
        self,
        design: Design,
        family: Family,
        space: ParamSpace,
        terms: Sequence[str],
        effects: Sequence[str],
        dtype: str,
    ) -> None:
        super().__init__(design, family, family.response(design), terms, (), None, dtype)
        self._coefficients = tuple(effects)
        self._variable = space.own.variable if space.own.size else ""
        self._is_vector = space.own.size > 1
        self._held = () if space.own.size else space.own.scale.tensors([])
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parts = (*effects, *([self._variable] if self._variable else []), *terms)
        self.__signature__ = inspect.Signature([inspect.Parameter(part, kind) for part in parts])

    def __call__(self, /, **parts: Tensor) -> Distribution:
        """The distribution of the (n,) responses; `parts` may have leading sample dimensions."""
        eta = self._linear_predictor(parts)
        if self._coefficients:
            beta = tf.stack([parts[name] for name in self._coefficients], axis=-1)
            eta = eta + tf.linalg.matvec(self._X, beta)
        # What is held, such as a residual standard deviation, is no part.
        own = tuple(tf.convert_to_tensor(value, eta.dtype) for value in self._held)
        if self._variable:
            values = parts[self._variable]
            each = tf.unstack(values, axis=-1) if self._is_vector else [values]
            own = tuple(one[..., None] for one in each)
        rows = weighted_rows(self._rule, eta[..., None, :], self._rows, own, self._frequency)
        return tfd.Independent(rows, 1)


def _check(design: Design, family: Family, space: ParamSpace, priors: Priors) -> None:
    """Refuse models whose priors are not all to be drawn from."""
    if design.num_predictors > 1:
        raise ModelError(
            "the joint distribution with priors is of models with one linear predictor",
            hint="model.joint has the effects and the response at given parameters.",
        )
    if family.thresholds and space.own.report is not None:
        raise ModelError(
            "the joint distribution with priors is not of thresholds in a pattern",
            hint='method="nuts" draws from the posterior of such models.',
        )
    if isinstance(space.own.scale, Ascending) and len({one.prior for one in priors.of("own")}) > 1:
        raise ModelError(
            "thresholds that ascend are drawn from one prior of all, and these have several",
            hint='Write "thresholds": "student(3, 0, 2.5)". method="nuts" takes one for each.',
        )
    for one in priors:
        if not one.prior.is_proper or one.of == "cov" or one.is_relative:
            _refuse(one)
    names = {name for one in priors for name in one.names}
    wanted = [*space.fixed_names, *space.own.names]
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        structure, k = term.structure, len(term.columns)
        if structure.correlations not in ("each", "none") or structure.num_sds(k) != k:
            raise ModelError(
                f"the joint distribution with priors is not of the structure {structure.kind}",
                hint="It is of terms (x | g) and (x || g).",
            )
        wanted += space.names[place][:k]
        if structure.correlations == "each" and k > 1:
            wanted.append(f"cor({term.name})")
    missing = [name for name in wanted if name not in names]
    if missing:
        more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        raise ModelError(
            f"there is no prior of {', '.join(missing[:6])}{more}, and a flat density cannot be drawn from",
            hint='Give each a prior: "Intercept", "b", "sd", "cor" and the family\'s own parameters.',
        )


def _refuse(one: Assigned) -> None:
    why = "is improper"
    if one.of == "cov":
        why = "is of a whole covariance"
    elif one.is_relative:
        why = "is relative to sigma"
    raise ModelError(
        f"priors[{one.key!r}] = {one.prior.text} {why}, and the joint distribution does not draw from it",
        hint='Give proper priors of standard deviations and correlations, "sd" and "cor".',
    )
