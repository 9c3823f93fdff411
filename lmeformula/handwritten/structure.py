"""A pinned joint distribution -> the structure of a mixed model, where it has one; read by derivatives.

Nothing is known of the functions inside, so everything is asked of them: exactly one parameter of the response
depends on latents, it is affine in them and in the fixed effects, each row reads one latent of each part, and
each part is normal around zero with one standard deviation, a variable. Along a part v_j = 1, j, j^2 the
derivatives of a row that reads latent j with weight z are z, z j, z j^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Floats, Ints, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

tfd = tfp.distributions
Variable = Any

# How exactly derivatives must agree.
ALIKE = 1e-9
# A move of a coefficient, or of a free standard deviation, that the model is tried at.
MOVE = 0.7


class NotRecognised(Exception):
    """The joint distribution is not a mixed model that a formula could say; the text says where it differs."""


class Effects(NamedTuple):
    """One part of latents.

    Attributes:
      name: of the part.
      size: number of latents.
      reads: (n,) which one each row reads.
      weights: (n,) by how much.
      scale: place of its standard deviation among the variables.
    """

    name: str
    size: int
    reads: Ints
    weights: Floats
    scale: int


class Structure(NamedTuple):
    """A mixed model.

    Attributes:
      response: (n,) the pinned values.
      distribution: name of the class of the rows' distribution.
      parameter: of it, the one that is the linear predictor.
      others: its other parameters, of numbers: (n,) or scalars.
      X: (n, p) fixed effects' columns.
      coefficients: (p) (place of the variable, element) of each.
      offset: (n,).
      effects: the parts of latents.
      residual: place of the variable that is the residual standard deviation, or None.
    """

    response: Floats
    distribution: str
    parameter: str
    others: dict[str, Floats]
    X: Floats
    coefficients: tuple[tuple[int, int], ...]
    offset: Floats
    effects: tuple[Effects, ...]
    residual: int | None


def recognise(
    pinned: Any, variables: Sequence[Variable], bijectors: Sequence[Any], seed: int = 0
) -> Structure:
    """Read the structure.

    Args:
      pinned: a JointDistributionPinned of one response.
      variables: its parameters, unconstrained.
      bijectors: of each to its natural values, or None.
      seed: of the random places that it is tried at.
    Raises:
      NotRecognised: where it has none that is known here.
    """
    view = _View(pinned, variables, bijectors, seed)
    with _unmoved(variables):
        at_zero, away = view.predictor(view.zeros), view.predictor(view.random)
        total = at_zero.copy()
        effects = []
        for name in view.latents:
            part, moved = _effects(view, name)
            effects.append(part)
            total += moved
        if not _alike(total, away):
            raise NotRecognised(f"{view.parameter} is not affine in the latents")
        residual = _residual(view)
        scales = {part.scale for part in effects}
        if len(scales) < len(effects) or residual in scales:
            raise NotRecognised("parts share a standard deviation")
        taken = scales | ({residual} if residual is not None else set())
        columns, coefficients, offset = _coefficients(view, at_zero, taken)
    return Structure(
        response=view.response,
        distribution=type(view.rows(view.zeros)).__name__,
        parameter=view.parameter,
        others=view.others,
        X=columns,
        coefficients=coefficients,
        offset=offset,
        effects=tuple(effects),
        residual=residual,
    )


class _View:
    """The joint distribution, as it can be asked."""

    def __init__(self, pinned: Any, variables: Any, bijectors: Any, seed: int) -> None:
        self.joint, pins = pinned.distribution, dict(pinned.pins)
        self.variables, self.bijectors = tuple(variables), tuple(bijectors)
        shapes = self.joint.event_shape
        if len(pins) != 1 or not hasattr(shapes, "items"):
            raise NotRecognised("there is not one response, by name")
        ((self.name, response),) = pins.items()
        self.response = np.asarray(response, float).ravel()
        if not all(dtype == tf.float64 for dtype in tf.nest.flatten(self.joint.dtype)):
            raise NotRecognised("parts are not in double precision")
        self.pinned_response = response
        self.latents = [name for name in shapes if name != self.name]
        self.shapes = {name: tuple(shapes[name]) for name in self.latents}
        if not self.latents or any(len(shape) != 1 for shape in self.shapes.values()):
            raise NotRecognised("latents do not come in vectors")
        rng = np.random.default_rng(seed)
        self.zeros = {n: tf.zeros(shape, tf.float64) for n, shape in self.shapes.items()}
        self.random = {n: tf.constant(rng.normal(size=shape)) for n, shape in self.shapes.items()}
        self.parameter, self.others = self._predicted()

    def distributions(self, latents: dict[str, Any]) -> Any:
        """All parts' distributions at latents."""
        value = {**latents, self.name: self.pinned_response}
        return self.joint.sample_distributions(value=value, seed=(0, 0))[0]

    def rows(self, latents: dict[str, Any]) -> Any:
        """The distribution of the response's rows."""
        found = self.distributions(latents)[self.name]
        while isinstance(found, tfd.Independent):
            found = found.distribution
        return found

    def predictor(self, latents: dict[str, Any]) -> Floats:
        """(n,) the parameter that depends on the latents."""
        return self._by_row(self.tensor(latents))

    def tensor(self, latents: dict[str, Any]) -> Any:
        """The same as a tensor, to be differentiated."""
        return tf.convert_to_tensor(self.rows(latents).parameters[self.parameter])

    def _by_row(self, values: Any) -> Floats:
        shape = np.shape(self.pinned_response)
        return np.broadcast_to(np.asarray(values, float), shape).ravel().copy()

    def along_latents(self, name: str, direction: Floats) -> Floats:
        """(n,) derivative of the predictor along latents of one part, at zeros."""
        return self._along(self.zeros[name], tf.constant(direction))

    def along_variable(self, place: int, element: int) -> Floats:
        """(n,) derivative of the predictor along an element of a variable, at zeros."""
        variable = self.variables[place]
        tangent = np.zeros(int(np.prod(variable.shape)))
        tangent[element] = 1.0
        return self._along(variable, tf.constant(tangent.reshape(variable.shape), variable.dtype))

    def _along(self, primal: Any, tangent: Tensor) -> Floats:
        with tf.autodiff.ForwardAccumulator(primals=primal, tangents=tangent) as tangents:
            found = self.tensor(self.zeros)
        slope = tangents.jvp(found)
        return self._by_row(0.0 if slope is None else slope)

    def depends_on(self, function: Any) -> list[int]:
        """Places of the variables that a tensor depends on."""
        with tf.GradientTape() as tape:
            tape.watch(self.variables)
            found = tf.reduce_sum(tf.convert_to_tensor(function()))
        slopes = tape.gradient(found, self.variables)
        return [k for k, slope in enumerate(slopes) if slope is not None and np.any(slope)]

    def natural(self, place: int) -> Floats:
        """What a variable stands for now."""
        variable, bijector = self.variables[place], self.bijectors[place]
        value = tf.convert_to_tensor(variable)
        return np.asarray(value if bijector is None else bijector.forward(value), float)

    def is_variable(self, place: int, function: Any) -> bool:
        """Whether a scalar is what the scalar variable stands for, wherever that moves."""
        variable = self.variables[place]
        if variable.shape.rank != 0:
            return False
        before = variable.numpy()
        found = []
        for move in (0.0, MOVE):
            variable.assign(before + move)
            value = np.unique(np.asarray(function(), float))
            found.append(len(value) == 1 and _alike(value, self.natural(place)))
        variable.assign(before)
        return all(found)

    def _predicted(self) -> tuple[str, dict[str, Floats]]:
        """The one parameter of the rows that depends on latents, and the others' values."""
        numbers = [
            name
            for name, value in self.rows(self.zeros).parameters.items()
            if tf.is_tensor(value)
            or isinstance(value, tf.Variable | np.ndarray | float | tfp.util.DeferredTensor)
        ]
        latents = list(self.random.values())
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(latents)
            rows = self.rows(self.random)
            sums = {
                name: tf.reduce_sum(tf.convert_to_tensor(rows.parameters[name])) for name in numbers
            }
        found = [
            name
            for name, value in sums.items()
            if any(slope is not None for slope in tape.gradient(value, latents))
        ]
        if len(found) != 1:
            raise NotRecognised(f"latents enter {len(found)} parameters of the response")
        others = {
            name: np.asarray(tf.convert_to_tensor(rows.parameters[name]), float)
            for name in numbers
            if name != found[0]
        }
        return found[0], others


def _effects(view: _View, name: str) -> tuple[Effects, Floats]:
    """One part of latents, and what it adds to the predictor at the random place."""
    (size,) = view.shapes[name]
    numbers = np.arange(1.0, size + 1.0)
    weight, first, second = (
        view.along_latents(name, direction) for direction in (np.ones(size), numbers, numbers**2)
    )
    reads = weight != 0.0
    ratio = np.where(reads, first / np.where(reads, weight, 1.0), 1.0)
    index = np.rint(ratio).astype(int)
    if (
        not reads.any()
        or (index < 1).any()
        or (index > size).any()
        or not _alike(first, weight * index)
        or not _alike(second, weight * index.astype(float) ** 2)
    ):
        raise NotRecognised(f"rows do not read one latent of {name} each")
    index -= 1

    def level() -> Any:
        found = view.distributions(view.random)[name]
        while isinstance(found, tfd.Sample | tfd.Independent):
            found = found.distribution
        return found

    if not isinstance(level(), tfd.Normal):
        raise NotRecognised(f"{name} is not normal")
    if np.any(np.asarray(tf.convert_to_tensor(level().loc)) != 0.0) or view.depends_on(
        lambda: level().loc
    ):
        raise NotRecognised(f"{name} is not centred at zero")
    places = view.depends_on(lambda: level().scale)
    if len(places) != 1 or not view.is_variable(places[0], lambda: level().scale):
        raise NotRecognised(f"the standard deviation of {name} is not a variable")
    moved = weight * np.asarray(view.random[name])[index]
    return Effects(name, size, index, weight, places[0]), moved


def _residual(view: _View) -> int | None:
    """The variable behind a residual standard deviation; None where nothing but the predictor varies."""
    places: dict[int, list[str]] = {}
    for name in view.others:
        for place in view.depends_on(lambda name=name: view.rows(view.zeros).parameters[name]):
            places.setdefault(place, []).append(name)
    if not places:
        return None
    ((place, names), *more) = places.items()
    rows = view.rows(view.zeros)
    if more or names != ["scale"] or not isinstance(rows, tfd.Normal):
        raise NotRecognised("the response has parameters of its own")
    if not view.is_variable(place, lambda: view.rows(view.zeros).scale):
        raise NotRecognised("the residual standard deviation is not a variable")
    return int(place)


def _coefficients(
    view: _View, at_zero: Floats, taken: set[int]
) -> tuple[Floats, tuple[tuple[int, int], ...], Floats]:
    """The fixed effects' columns, which elements of which variables multiply them, and the offset."""
    columns, places, offset = [], [], at_zero.copy()
    for place, variable in enumerate(view.variables):
        if place in taken:
            continue
        before = variable.numpy()
        expected = at_zero.copy()
        for element in range(int(np.prod(variable.shape))):
            column = view.along_variable(place, element)
            columns.append(column)
            places.append((place, element))
            offset -= column * np.ravel(before)[element]
            expected += MOVE * (1.0 + element) * column
        steps = MOVE * (1.0 + np.arange(np.size(before))).reshape(np.shape(before))
        variable.assign(before + steps)
        found = view.predictor(view.zeros)
        variable.assign(before)
        if not _alike(found, expected):
            raise NotRecognised(f"{variable.name} is not a coefficient")
    X = np.stack(columns, axis=1) if columns else np.zeros((len(at_zero), 0))
    # Neither may a column depend on another coefficient.
    _check_moved_together(view, X, places, at_zero)
    if np.linalg.matrix_rank(X) < X.shape[1]:
        raise NotRecognised("columns repeat one another")
    return X, tuple(places), offset


def _check_moved_together(
    view: _View, X: Floats, places: list[tuple[int, int]], at_zero: Floats
) -> None:
    rng = np.random.default_rng(1)
    befores = [variable.numpy() for variable in view.variables]
    moves = rng.normal(size=len(places))
    for (place, element), move in zip(places, moves, strict=True):
        variable = view.variables[place]
        values = np.array(variable.numpy(), float)
        values.ravel()[element] += move
        variable.assign(values)
    found = view.predictor(view.zeros)
    for variable, before in zip(view.variables, befores, strict=True):
        variable.assign(before)
    if not _alike(found, at_zero + X @ moves):
        raise NotRecognised("coefficients multiply one another")


def _alike(one: Floats, other: Floats) -> bool:
    size = max(float(np.abs(one).max(initial=0.0)), float(np.abs(other).max(initial=0.0)), 1e-300)
    return bool(np.isfinite(size) and np.abs(one - other).max(initial=0.0) <= ALIKE * size)


@contextmanager
def _unmoved(variables: Sequence[Variable]) -> Iterator[None]:
    """Leave the variables as they were, whatever happens."""
    before = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
