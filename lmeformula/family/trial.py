"""A user's family tried out before it meets data: shapes, derivatives and support, with errors that say which.

Every check is made at ordinary predictors and own parameters. What passes here may still fail far out; what
fails here would have failed in a fit, with TensorFlow's words for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.errors import ModelError
from lmeformula.family.supports import Support
from lmeformula.family.user_family import UserFamily
from lmeformula.startup import tf, tfp

PREDICTORS = (-2.0, -0.7, 0.3, 1.0, 2.0)
# Unconstrained, around those that own parameters start at. Not right there: TFP's gradient of the gamma's
# density is wrong where the concentration is exactly one, for one.
MOVES = (0.03, -0.7, 0.7)
NUM_DRAWS = 40
# Central differences with this step are good to about 1e-9 of third derivatives; the rest is room for TFP's
# own approximations, whose gradients are not those of the approximating function.
STEP = 1e-5
# Of families of successes, in every row; `successes_trial` tries others.
NUM_TRIALS = 7.0
TOLERANCE = 1e-4
LEAVES = (
    'the link lets mu leave the values that the distribution takes (use link="log" for positive ones, '
    '"logit" for chances)'
)


def try_out(user: UserFamily, support: Support) -> None:
    """Try a family out at ordinary points.

    Args:
      user: the family.
      support: its responses.
    Raises:
      ModelError: that says what is wrong with it.
    """
    eta = tf.constant([PREDICTORS, PREDICTORS[::-1]], tf.float64)
    points = list(own_points(user))
    draws = []
    for number, own in enumerate(points):
        made = built(user, eta, own)
        if not number:
            _check_shapes(user, made, eta)
            _check_own_shapes(user, eta, own)
        draws.append(_draws(user, made, number))
        _check_numbers(user, eta, own, draws[-1])
        _check_support(user, support, draws[-1])
        _check_density(user, eta, own, draws[-1], "drawn from it")
        probes = tf.constant(support.probes, tf.float64)[:, None, None] + tf.zeros_like(eta)
        if support.probes:
            _check_density(user, eta, own, probes, f"one of the {support.words} that it takes")
    # Where one set of own parameters has a density and another has not, that is what to say.
    for own, drawn in zip(points, draws, strict=True):
        _check_rows_apart(user, eta, own, drawn[0])
        _check_derivatives(user, eta[0], own, drawn[:4, 0])
    _check_compiles(user, eta[0], points[0], draws[0][0, 0])


def takes_single(user: UserFamily) -> bool:
    """Whether the distribution can be evaluated in single precision."""
    eta = tf.constant(PREDICTORS, tf.float32)
    try:
        own = tuple(tf.cast(value, tf.float32) for value in next(own_points(user)))
        made = user.build(user.inverse(eta), own, trials_like(user, eta))
        return bool(made.log_prob(tf.ones_like(eta)).dtype == tf.float32)
    except (TypeError, ValueError, tf.errors.OpError):
        return False


def is_mean(user: UserFamily) -> bool:
    """Whether mu is the mean, of successes that of their share, and there is a variance."""
    mu = user.inverse(tf.constant(PREDICTORS, tf.float64))
    try:
        made = user.build(mu, next(own_points(user)), trials_like(user, mu))
        per = NUM_TRIALS if user.has_trials else 1.0
        return bool(np.allclose(made.mean(), per * mu) and np.isfinite(made.variance()).all())
    except NotImplementedError:
        return False


def takes_formula(user: UserFamily, place: int) -> bool:
    """Whether the log density has three finite derivatives in an own parameter, as its predictor takes them."""
    eta = tf.constant(PREDICTORS, tf.float64)
    for number, own in enumerate(own_points(user)):
        wide = [value + tf.zeros_like(eta) for value in own]
        y = tf.cast(built(user, eta, tuple(wide)).sample(seed=[number, 3]), tf.float64)

        def density(value: Tensor, wide: list[Tensor] = wide, y: Tensor = y) -> Tensor:
            given = (*wide[:place], tf.identity(value), *wide[place + 1 :])
            return _log_density(user, eta, given, y)

        try:
            found = taken(density, wide[place], 3)
        except (LookupError, tf.errors.OpError):
            return False
        if not all(each is None or np.isfinite(each).all() for each in found):
            return False
    return True


def trials_like(user: UserFamily, eta: Tensor) -> Tensor | None:
    """Numbers of trials of the shape of eta; None for families without."""
    return NUM_TRIALS + tf.zeros_like(eta) if user.has_trials else None


def own_points(user: UserFamily) -> Iterator[tuple[Tensor, ...]]:
    """Own parameters, as tensors, at and around the start."""
    free = user.scale.to_free(user.start)
    for move in MOVES if len(free) else MOVES[:1]:
        natural = user.scale.to_natural(free + move)
        yield tuple(tf.constant(value, tf.float64) for value in natural)


def built(
    user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], trials: Tensor | None = None
) -> Any:
    """The distribution of rows at predictors, whatever the user's function makes of them."""
    if trials is None:
        trials = trials_like(user, eta)
    try:
        made = user.build(user.inverse(eta), own, trials)
    except Exception as error:
        # The function is the user's: whatever it raises is told as its failure.
        raise ModelError(
            f"the distribution of the family {user.name!r} could not be made: {brief(error)}",
            hint="It is called with mu, float64 of any shape, and each own parameter"
            + (" and trials" if user.has_trials else "")
            + ", a float64 tensor that goes together with mu.",
        ) from error
    if not isinstance(made, tfp.distributions.Distribution):
        raise ModelError(
            f"the distribution of the family {user.name!r} makes something of the type {type(made).__name__}",
            hint="The function must return a tfd.Distribution, such as tfd.Gumbel(mu, scale).",
        )
    return made


def _check_shapes(user: UserFamily, made: Any, eta: Tensor) -> None:
    if tuple(made.event_shape) != ():
        raise ModelError(
            f"the distribution of the family {user.name!r} has events of the shape "
            f"{tuple(made.event_shape)}",
            hint="A row has one number: give a distribution of scalars, without tfd.Independent.",
        )
    if tuple(made.batch_shape) != tuple(eta.shape):
        raise ModelError(
            f"the distribution of the family {user.name!r} has the batch shape "
            f"{tuple(made.batch_shape)} for mu of the shape {tuple(eta.shape)}",
            hint="It must have a row for each element of mu, whatever the shape of mu.",
        )


def _check_own_shapes(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...]) -> None:
    """Own parameters may have a value for each chain, or each row."""
    for wide in (tf.zeros([2, 1], tf.float64), tf.zeros_like(eta)):
        made = built(user, eta, tuple(value + wide for value in own))
        _check_shapes(user, made, eta)


def _draws(user: UserFamily, made: Any, seed: int) -> Tensor:
    """(draws, 2, n) float64."""
    try:
        drawn = made.sample(NUM_DRAWS, seed=[seed, 1])
    except NotImplementedError as error:
        raise ModelError(
            f"the distribution of the family {user.name!r} has no sampler",
            hint="Give a distribution whose `sample` works: simulations and checks need it.",
        ) from error
    if drawn.dtype != tf.float64 and drawn.dtype.is_floating:
        raise ModelError(
            f"the distribution of the family {user.name!r} gives {drawn.dtype.name} for a float64 mu",
            hint="Use mu.dtype where it is given a type, and tensors of that type.",
        )
    return tf.cast(drawn, tf.float64)


def _check_support(user: UserFamily, support: Support, draws: Tensor) -> None:
    values = np.ravel(draws)
    wrong = ~support.holds(values)
    if wrong.any():
        raise ModelError(
            f"the family {user.name!r} takes {support.words}, and {wrong.sum()} of {len(wrong)} draws from "
            f"its distribution are none: {values[np.argmax(wrong)]:g} is the first",
            hint="Give the support that the distribution has: support=...",
        )


def _log_density(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], y: Tensor) -> Tensor:
    return built(user, eta, own).log_prob(y)


def _check_density(
    user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], y: Tensor, which: str
) -> None:
    try:
        found = _log_density(user, eta, own, y)
    except (TypeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
        raise ModelError(
            f"the log density of the family {user.name!r} cannot be evaluated: {brief(error)}",
            hint="Responses are float64: give distributions of whole numbers dtype=mu.dtype.",
        ) from error
    if found.dtype != eta.dtype or found.shape != y.shape:
        raise ModelError(
            f"the log density of the family {user.name!r} is {found.dtype.name} of the shape "
            f"{tuple(found.shape)} for responses of the shape {tuple(y.shape)}",
            hint="It must be one float64 number for each row.",
        )
    place = _first(~np.isfinite(found))
    if place:
        raise ModelError(
            f"the log density of the family {user.name!r} is {np.asarray(found)[place]:g} at "
            + _at(user, eta, own, place)
            + f" for the response {np.asarray(y)[place]:g}, {which}",
            hint=f"Either {LEAVES}, or the support is too wide, or a bijector is.",
        )


def _check_numbers(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], draws: Tensor) -> None:
    place = _first(np.isnan(draws))
    if place:
        raise ModelError(
            f"draws from the distribution of the family {user.name!r} are no numbers at "
            + _at(user, eta, own, place),
            hint=f"Either {LEAVES}, or a bijector does.",
        )


def _check_rows_apart(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], y: Tensor) -> None:
    whole = np.asarray(_log_density(user, eta, own, y))
    if not np.allclose(whole, _log_density(user, eta, own, y), rtol=1e-12, atol=1e-14):
        raise ModelError(
            f"the log density of the family {user.name!r} is another one when it is asked again",
            hint="Leave out random numbers, and what is remembered from call to call.",
        )
    alone = np.asarray(_log_density(user, eta[:, 1:2], own, y[:, 1:2]))
    if not np.allclose(whole[:, 1:2], alone, rtol=1e-8, atol=1e-10):
        raise ModelError(
            f"a row's density of the family {user.name!r} depends on the other rows",
            hint="Each element of mu must make its row by itself: no means or sums over mu.",
        )


def _check_derivatives(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], y: Tensor) -> None:
    """Three derivatives in the predictor, two in own parameters, and the first ones against differences."""
    y = tf.reshape(y, [-1])
    eta = tf.tile(eta, [len(y) // len(eta)])
    names = [f"the parameter {name!r}" for name in user.names]
    watched = [eta, *(value + tf.zeros_like(eta) for value in own)]

    def density(*at: Tensor) -> Tensor:
        # Copies: TFP's bijectors remember what they made of a tensor, and no tape sees that again.
        mine, *of_family, observed = (tf.identity(each) for each in (*at, y))
        return _log_density(user, mine, tuple(of_family), observed)

    for place, what in enumerate(["the predictor", *names]):
        found = _derivatives(user, density, watched, place, what, 2 if place else 3)
        ends = []
        for step in (STEP, -STEP):
            moved = list(watched)
            moved[place] = watched[place] + step
            ends.append(np.asarray(density(*moved)))
        slope = (ends[0] - ends[1]) / (2.0 * STEP)
        if not np.allclose(found, slope, rtol=TOLERANCE, atol=TOLERANCE * np.abs(slope).max()):
            worst = int(np.argmax(np.abs(found - slope)))
            raise ModelError(
                f"the log density of the family {user.name!r} rises by {slope[worst]:.6g} in {what}, and its "
                f"gradient says {found[worst]:.6g}",
                hint="Something inside stops or bends gradients: tf.stop_gradient, rounding, NumPy.",
            )


def _derivatives(
    user: UserFamily,
    density: Callable[..., Tensor],
    at: list[Tensor],
    place: int,
    what: str,
    times: int,
) -> Floats:
    """The first derivative in one argument, once all that are needed are there and finite."""

    def refuse(problem: str) -> NoReturn:
        raise ModelError(
            f"the log density of the family {user.name!r} {problem} {what}",
            hint="Compute it from mu and the parameters with TensorFlow's functions, smooth ones, whose "
            "gradients have gradients; leave out parameters that it does not use.",
        )

    try:
        _, *found = taken(lambda x: density(*at[:place], x, *at[place + 1 :]), at[place], times)
    except (LookupError, tf.errors.OpError) as error:
        raise ModelError(
            f"the log density of the family {user.name!r} cannot be differentiated {times} times in {what}: "
            f"{brief(error)}",
            hint="Some of TensorFlow's functions have no second gradient; write the density with others.",
        ) from error
    if found[0] is None:
        refuse("does not depend on")
    if not all(each is None or np.isfinite(each).all() for each in found):
        refuse("has derivatives that are not finite in")
    return np.asarray(found[0])


def taken(function: Callable[[Tensor], Tensor], x: Tensor, times: int) -> list[Any]:
    """A function's value and derivatives, elementwise; None from where it does not depend on x any more."""
    if times == 0:
        return [function(x)]
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = taken(function, x, times - 1)
    return [*found, None if found[-1] is None else tape.gradient(found[-1], x)]


def _check_compiles(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], y: Tensor) -> None:
    """Monte Carlo fits compile the density and its gradient by XLA."""

    @tf.function(autograph=False, jit_compile=True)  # type: ignore[untyped-decorator]
    def compiled(eta: Tensor, own: tuple[Tensor, ...], y: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            tape.watch(eta)
            value = _log_density(user, eta, own, y)
        return value, tape.gradient(value, eta)

    try:
        value, _ = compiled(eta, own, y)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ModelError(
            f"the log density of the family {user.name!r} cannot be compiled by XLA: {brief(error)}",
            hint="Write it with TensorFlow's functions of tensors: no NumPy, no tf.py_function.",
        ) from error
    if not np.allclose(value, _log_density(user, eta, own, y), rtol=1e-8, atol=1e-10):
        raise ModelError(
            f"the log density of the family {user.name!r} is another one when it is compiled",
            hint="It must depend on nothing but mu, the parameters and the response: no random numbers.",
        )


def _first(wrong: Mask) -> tuple[int, ...]:
    """The place of the first True; empty where there is none."""
    return tuple(int(axis[0]) for axis in np.nonzero(wrong)) if wrong.any() else ()


def _at(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], place: tuple[int, ...]) -> str:
    return f"mu = {np.asarray(user.inverse(eta))[place[1:]]:g}" + "".join(
        f", {name} = {float(value):g}" for name, value in zip(user.names, own, strict=True)
    )


def brief(error: Exception) -> str:
    """The first line of what a library said, not too long."""
    said = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {said[0] if said else ''}".rstrip(": ")
    return text if len(text) < 240 else text[:240] + "..."
