"""Problems from what a user wrote: any log joint density, or a TFP JointDistribution with variables in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.em.density import (
    Bind,
    Bound,
    Density,
    latent_gradient,
    param_curvature,
    param_gradient,
)
from lmeformula.em.generic import Solver
from lmeformula.em.programs import tensors_of
from lmeformula.em.recognise import RECOGNISERS
from lmeformula.em.structures import blocks_of, flatten
from lmeformula.em.types import Problem, Scores
from lmeformula.errors import ModelError


@kinds.takes(
    log_joint=kinds.function,
    names=kinds.optional(kinds.names),
    scales=kinds.either(kinds.mapping, kinds.one_of("auto")),
)
def from_log_joint(
    log_joint: Callable[..., Tensor],
    params: Any,
    latents: Any,
    *,
    names: Sequence[str] | None = None,
    scales: str | Mapping[str, Any] = "auto",
    data: Any = None,
) -> Problem:
    """A problem from a function of parameters and latents.

    Args:
      log_joint: (params, latents) -> scalar log density of the data and the latents, up to a constant; both
        arguments have the structures of the starts below, with unconstrained values. Differentiable by
        TensorFlow in both, twice in the latents.
      params: where the parameters start: an array, a list of numbers, or a nested structure of arrays.
      latents: where the latents start: likewise.
      names: a name for each element of the parameters; by default p[0], p[1], ...
      scales: which parameters are the standard deviation of latents with the prior Normal(c, sd): they may end
        at a sd of zero. "auto" finds them; a mapping tells, from their names to the latents: a key of `latents`
        where that is a dictionary, or positions among all latents. An empty one looks for none.
      data: arrays, or a nested structure of them, that `log_joint` takes as a third argument. They need not
        be compiled into the program, and the longest tells the number of rows.
    Returns:
      The problem, for `run`.
    Raises:
      ModelError: if the log density is not a finite scalar at the start, does not depend on some parameter, or
        has not the scales that it is said to have.
    Example:
      >>> import lmeformula as lf, tensorflow as tf
      >>> problem = lf.em.from_log_joint(lambda p, u: -tf.reduce_sum((u - p) ** 2 + u**2), 1.0, [0.0, 0.0])
      >>> problem.names, problem.latents.shape
      (('p[0]',), (2,))
    """
    start, unflatten_params = _started("params", params)
    first, unflatten_latents = _started("latents", latents)
    dtype = _dtype_of(params, latents)
    try:
        given = () if data is None else tensors_of(data, dtype)
    except (TypeError, ValueError) as error:
        raise kinds.refuse("data", data, "Give arrays, or a nested structure of them.") from error

    def bind(psi: Tensor, data: Any) -> Bound:
        further = () if isinstance(data, tuple) and data == () else (data,)

        def value(flat: Tensor) -> Tensor:
            return log_joint(unflatten_params(psi), unflatten_latents(flat), *further)

        return Bound(value, (psi,), lambda by: tf.zeros_like(psi) if by[0] is None else by[0])

    def report(psi: Floats) -> tuple[Floats, Floats]:
        return psi, np.eye(len(psi))

    found = tuple(names) if names is not None else tuple(f"p[{i}]" for i in range(len(start)))
    if len(found) != len(start):
        raise ModelError(
            f"there are {len(found)} names for {len(start)} parameters",
            hint="Give one for each element, in the order of tf.nest.flatten.",
        )
    blocks = blocks_of(scales, found, latents, len(first))
    _check_start(bind, start, first, found, dtype, given)
    return _problem(bind, start, first, found, report, given, dtype, blocks)


@kinds.takes(
    seed=kinds.seed,
    scales=kinds.either(kinds.mapping, kinds.one_of("auto")),
    structure=kinds.one_of("auto", "none"),
)
def from_joint(
    joint: Any,
    variables: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    scales: str | Mapping[str, Any] = "auto",
    structure: str = "auto",
) -> Problem:
    """A problem from a JointDistribution whose data are pinned and whose parameters are trainable variables.

    Args:
      joint: a `JointDistributionPinned`, from `joint.experimental_pin(response=...)`.
      variables: the parameters; by default the trainable variables that the joint distribution tracks, which
        are not those that appear only inside a lambda: pass `module.trainable_variables` of the tf.Module that
        owns them all. Transformed variables may be listed as such.
      seed: of the draw that the check of the gradients is made at.
      scales: see `from_log_joint`.
      structure: "auto" looks for the structure of a model that a formula could say, and takes what the package
        knows of it; "none" leaves the density as it is.
    Returns:
      The problem, for `run`; `assign` then sets the variables to what was found.
    Raises:
      ModelError: if there are no variables, or the log density does not depend on some of them. (A standard
        deviation that was multiplied by a tensor while the model was built is such a case: the product was
        taken once, outside of any gradient.)
    """
    if not all(
        hasattr(joint, part)
        for part in ("distribution", "experimental_default_event_space_bijector")
    ):
        raise kinds.refuse(
            "joint", joint, "Pin the response: joint.experimental_pin(response=values)."
        )
    owner = joint.distribution
    variables, bijectors = _parameters(
        owner, owner.trainable_variables if variables is None else variables
    )
    if not variables:
        raise ModelError(
            "the joint distribution has no trainable variables",
            hint="Give it tf.Variable or tfp.util.TransformedVariable parameters, and pass them as `variables` "
            "if they appear only inside lambdas.",
        )
    bijector = joint.experimental_default_event_space_bijector()
    shapes = bijector.inverse_event_shape(joint.event_shape)
    dtypes = joint.dtype
    first, unflatten_latents = flatten(
        tf.nest.map_structure(
            lambda shape, dtype: np.zeros(tuple(shape), dtype.as_numpy_dtype), shapes, dtypes
        )
    )
    start, unflatten_params = flatten(tuple(variable.numpy() for variable in variables))

    names = tuple(name for variable in variables for name in _element_names(variable))

    def bind(psi: Tensor, data: Any) -> Bound:
        for variable, part in zip(variables, unflatten_params(psi), strict=True):
            variable.assign(tf.cast(part, variable.dtype))

        def value(flat: Tensor) -> Tensor:
            unconstrained = tf.nest.map_structure(tf.cast, unflatten_latents(flat), dtypes)
            change = bijector.forward_log_det_jacobian(unconstrained)
            found = joint.log_prob(bijector.forward(unconstrained))
            return tf.cast(found, flat.dtype) + tf.cast(change, flat.dtype)

        return Bound(value, variables, lambda parts: _join(parts, variables, psi.dtype))

    _check_reached(joint, bijector, variables, seed)
    leaves = {dtype.name for dtype in tf.nest.flatten(dtypes)}
    dtype = "float32" if "float32" in leaves else "float64"
    blocks = blocks_of(scales, names, (), len(first))
    report = _reporter(variables, bijectors)
    problem = _problem(bind, start, first, names, report, (), dtype, blocks)
    if structure == "none" or scales != "auto":
        return problem
    for recogniser in RECOGNISERS:
        known = recogniser(joint, variables, bijectors, _sizes_of(shapes), seed)
        if known is not None:
            return problem._replace(solver=known)
    return problem


def _sizes_of(shapes: Any) -> tuple[tuple[str, int], ...]:
    """Names and sizes of the latents' parts, in the order in which they are one vector; () without names."""
    if hasattr(shapes, "_asdict"):
        named: Any = type(shapes)(**{name: name for name in shapes._asdict()})
    elif isinstance(shapes, Mapping):
        named = {name: name for name in shapes}
    else:
        return ()
    sizes = [
        int(np.prod(tuple(shape)))
        for shape in tf.nest.flatten(
            tf.nest.map_structure(lambda shape: tf.TensorShape(shape), shapes)
        )
    ]
    return tuple(zip(tf.nest.flatten(named), sizes, strict=True))


def _started(name: str, values: Any) -> Any:
    """Flatten start values.

    Raises:
      ModelError: if they are no numbers.
    """
    hint = "Give numbers: an array, a list, or a nested structure of arrays."
    try:
        flat, unflatten = flatten(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise kinds.refuse(name, values, hint) from error
    if not len(flat):
        raise kinds.refuse(name, values, hint)
    return flat, unflatten


def assign(variables: Sequence[Any], params: Floats) -> None:
    """Set the variables that a problem was made with to a solution's `params` (d,)."""
    _, unflatten = flatten(tuple(variable.numpy() for variable in variables))
    for variable, part in zip(variables, unflatten(tf.constant(params)), strict=True):
        variable.assign(tf.cast(part, variable.dtype))


def _problem(
    bind: Bind,
    start: Floats,
    first: Floats,
    names: tuple[str, ...],
    report: Callable[[Floats], tuple[Floats, Floats]],
    data: Any,
    precision: str,
    blocks: dict[int, Mask] | None,
) -> Problem:
    # The density need not know of batches, so the chains are written out one by one; they are few.
    def density(psi: Tensor, position: Tensor, arrays: Any, data: Any) -> Any:
        (scale,) = arrays
        bound = bind(psi, data)
        found = [latent_gradient(bound, flat * scale) for flat in tf.unstack(position, axis=1)]
        values, slopes = zip(*found, strict=True)
        return tf.stack(values), scale[:, None] * tf.stack(slopes, axis=1)

    def score(psi: Tensor, position: Tensor, gradient: Tensor, arrays: Any, data: Any) -> Scores:
        (scale,) = arrays
        bound = bind(psi, data)
        raw = [param_gradient(bound, flat * scale) for flat in tf.unstack(position, axis=1)]
        return Scores(tf.stack(raw, axis=1), tf.stack(raw, axis=1))

    def information(psi: Tensor, position: Tensor, arrays: Any, data: Any) -> Tensor:
        (scale,) = arrays
        bound = bind(psi, data)
        found = [param_curvature(bound, flat * scale) for flat in tf.unstack(position, axis=1)]
        return -tf.add_n(found) / len(found)

    made = Density(bind, len(start), len(first), data, precision)
    return Problem(
        params=start,
        names=names,
        latents=first,
        data=data,
        density=density,
        score=score,
        to_latents=lambda position, arrays, data: position * arrays[0][:, None],
        to_position=lambda latents, arrays: latents / arrays[0],
        report=report,
        information=information,
        solver=Solver(made, blocks),
        # The functions are this problem's own: a second run of it finds them compiled.
        program=object(),
    )


def _join(parts: Sequence[Tensor | None], variables: Sequence[Any], dtype: Any) -> Tensor:
    flat = [
        tf.zeros([int(np.prod(variable.shape))], dtype)
        if part is None
        else tf.reshape(tf.cast(part, dtype), [-1])
        for part, variable in zip(parts, variables, strict=True)
    ]
    return tf.concat(flat, axis=0)


def _element_names(variable: Any) -> list[str]:
    name = variable.name.split(":")[0].split("/")[-1]
    size = int(np.prod(variable.shape))
    return [name] if size == 1 else [f"{name}[{i}]" for i in range(size)]


def _parameters(owner: Any, listed: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The underlying variables, each with the bijector of its transform or None."""
    deferred = tfp.util.TransformedVariable
    known = [module for module in owner.submodules if isinstance(module, deferred)]
    known += [item for item in listed if isinstance(item, deferred)]
    variables = [v.pretransformed_input if isinstance(v, deferred) else v for v in listed]
    bijectors = []
    for variable in variables:
        found = [module.bijector for module in known if module.pretransformed_input is variable]
        keeps = found and found[0].forward_event_shape(variable.shape) == variable.shape
        bijectors.append(found[0] if keeps else None)
    return tuple(variables), tuple(bijectors)


def _reporter(
    variables: Sequence[Any], bijectors: Sequence[Any]
) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Report transformed variables on the scale of their transform, where it keeps their size."""
    sizes = [int(np.prod(variable.shape)) for variable in variables]

    def report(psi: Floats) -> tuple[Floats, Floats]:
        values, jacobian, start = psi.copy(), np.eye(len(psi)), 0
        for variable, bijector, size in zip(variables, bijectors, sizes, strict=True):
            place = slice(start, start + size)
            start += size
            if bijector is not None:
                with tf.GradientTape() as tape:
                    raw = tf.constant(psi[place].reshape(variable.shape), variable.dtype)
                    tape.watch(raw)
                    natural = bijector.forward(raw)
                values[place] = natural.numpy().ravel()
                jacobian[place, place] = tape.jacobian(natural, raw).numpy().reshape(size, size)
        return values, jacobian

    return report


def _dtype_of(*structures: Any) -> str:
    """The type to evaluate a density in: float32 where all starts are."""
    leaves = [np.asarray(leaf) for part in structures for leaf in tf.nest.flatten(part)]
    return "float32" if leaves and all(leaf.dtype == "float32" for leaf in leaves) else "float64"


def _check_start(
    bind: Bind, start: Floats, first: Floats, names: tuple[str, ...], dtype: str, data: Any
) -> None:
    """The density must be a finite scalar at the start, and every parameter must get a gradient near it."""
    bound = bind(tf.constant(start, dtype), data)
    try:
        found = np.asarray(bound.value(tf.constant(first, dtype)))
    except Exception as error:
        words = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"the log density fails at the start: {type(error).__name__}: {words}",
            hint="It is called with the parameters and the latents, in the structures of their starts, and "
            "with the data where there are some.",
        ) from error
    if found.shape != () or found.dtype.kind not in "fiu" or not np.isfinite(found):
        raise ModelError(
            f"the log density is {found!r} at the start",
            hint="It must be one finite number: sum over rows and latents, and start where the density "
            "is positive.",
        )
    # Off the start, where a gradient may vanish by symmetry: that of a standard deviation at latents of zero.
    nearby = first + np.random.default_rng(0).normal(size=len(first))
    slopes = np.asarray(param_gradient(bound, tf.constant(nearby, dtype)))
    lost = [name for name, slope in zip(names, slopes, strict=True) if slope == 0.0]
    if lost:
        raise ModelError(
            f"the log density does not depend on the parameter(s) {', '.join(lost)}",
            hint="They would never move from their start: use them in the density, or leave them out.",
        )


def _check_reached(joint: Any, bijector: Any, variables: Sequence[Any], seed: int) -> None:
    """Every variable must get a gradient at a generic point: a draw from the prior."""
    drawn = bijector.inverse(joint.sample_unpinned(seed=(seed, 1)))
    with tf.GradientTape() as tape:
        latents = bijector.forward(drawn)
        value = joint.log_prob(latents)
    if np.shape(value) != () or not np.isfinite(value):
        raise ModelError(
            "the log density of the pinned joint distribution is "
            f"{np.asarray(value)!r} at a draw from its prior",
            hint="It must be one finite number: wrap the response in tfd.Independent so that its "
            "rows are one event.",
        )
    slopes = tape.gradient(value, variables)
    lost = [
        variable.name
        for variable, slope in zip(variables, slopes, strict=True)
        if slope is None or not np.any(np.asarray(slope))
    ]
    if lost:
        raise ModelError(
            f"the log density does not depend on the variable(s) {', '.join(lost)}",
            hint="They would never move from their start. An operation on the variable, such as "
            "`sd * tf.ones(n)`, was probably evaluated when the model was built: pass the variable "
            "itself, as in tfd.Sample(tfd.Normal(0., sd), n), or wrap the operation in "
            "tfp.util.DeferredTensor or a lambda.",
        )
