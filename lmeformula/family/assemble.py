"""The arguments of lf.Family, checked: what a user's family is made of."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Tensor
from lmeformula.errors import ModelError
from lmeformula.family.bounded import between
from lmeformula.family.built_in import FAMILIES
from lmeformula.family.links import LINKS, mean_of
from lmeformula.family.supports import SUCCESSES
from lmeformula.family.trial import brief
from lmeformula.family.user_family import Bijected, UserFamily, slopes
from lmeformula.startup import tf, tfp

TYPED = "Numbers inside of a bijector must be float64: write tfb.Shift(np.float64(1)), not tfb.Shift(1.0)."


def assemble(
    name: str,
    distribution: Any,
    link: Any,
    parameters: Mapping[str, Any],
    support: Any,
    start: Mapping[str, float],
) -> UserFamily:
    """What a family is made of, from the arguments of `lf.Family`.

    Raises:
      ModelError: if one of them is not what it has to be.
    """
    _check_name(name)
    scale = Bijected(_bijectors(name, parameters))
    own_names = tuple(parameters)
    has_trials = isinstance(support, str) and support == SUCCESSES
    return UserFamily(
        name,
        own_names,
        _by_name(name, distribution, own_names, has_trials),
        _inverse_link(name, link),
        scale,
        _start(name, start, own_names, scale),
        has_trials,
    )


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise ModelError(
            f"a family cannot be called {kinds.shown(name)}",
            hint='Write letters, digits and underscores: lf.Family("gumbel", ...).',
        )
    if name in FAMILIES:
        raise ModelError(
            f"there is a built-in family called {name!r}",
            hint=f'Give yours another name, such as "my_{name}".',
        )


def _by_name(
    name: str, distribution: Any, own_names: tuple[str, ...], has_trials: bool
) -> Callable[[Tensor, tuple[Tensor, ...], Tensor | None], Any]:
    """(mu, own, trials) -> distribution, with all but the first by name."""
    names = (*own_names, *(("trials",) if has_trials else ()))
    written = f"lambda {', '.join(('mu', *names))}: ..."
    if "trials" in own_names and has_trials:
        raise ModelError(
            f"the family {name!r} has a parameter called 'trials', as the numbers of trials are",
            hint="Call it otherwise.",
        )
    if not callable(distribution):
        raise ModelError(
            f"the distribution of the family {name!r} is {kinds.shown(distribution)}, not a function",
            hint=f"Give a function that makes a tfd.Distribution: distribution={written}",
        )
    try:
        inspect.signature(distribution).bind(0.0, **dict.fromkeys(names, 0.0))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the distribution of the family {name!r} does not take mu"
            + "".join(f", {own}" for own in names)
            + f": {error}",
            hint=f"Write distribution={written} with the names that `parameters` has.",
        ) from None

    def build(mu: Tensor, own: tuple[Tensor, ...], trials: Tensor | None) -> Any:
        sizes = (trials,) if has_trials else ()
        return distribution(mu, **dict(zip(names, (*own, *sizes), strict=True)))

    return build


def _inverse_link(name: str, link: Any) -> Callable[[Tensor], Tensor]:
    if isinstance(link, str):
        if link in LINKS:
            return partial(mean_of, LINKS[link])
        raise ModelError(
            f"the family {name!r} has no link {link!r}",
            hint=f"Links by name: {', '.join(LINKS)}. For another give a tfb.Bijector from the linear "
            "predictor to mu.",
        )
    check_bijector(link, f"the link of the family {name!r}")
    return link.forward  # type: ignore[no-any-return]


def _bijectors(name: str, parameters: Mapping[str, Any]) -> list[Any]:
    found = []
    for own, way in parameters.items():
        what = f"the parameter {own!r} of the family {name!r}"
        if not (isinstance(own, str) and own.isidentifier() and own != "mu"):
            raise ModelError(
                f"{what} is not named as an argument besides mu can be",
                hint="Write parameters={'scale': ...}.",
            )
        if isinstance(way, tuple | list):
            way = _from_bounds(what, way)
        check_bijector(way, what)
        found.append(way)
    return found


def _from_bounds(what: str, bounds: Any) -> Any:
    ends = np.asarray(bounds, float)
    if ends.shape != (2,) or not ends[0] < ends[1] or (np.isinf(ends[0]) and np.isfinite(ends[1])):
        raise ModelError(
            f"{what} has the bounds {bounds!r}",
            hint="Give the lower and the upper one, such as (0, np.inf) or (1, 2), or a tfb.Bijector.",
        )
    if np.isinf(ends[0]):
        return tfp.bijectors.Identity()
    return between(float(ends[0]), float(ends[1]))


def check_bijector(way: Any, what: str) -> None:
    """Check that a bijector takes and gives numbers one by one, in double precision, one way and back.

    Args:
      way: what the user gave.
      what: for the error: "the link of ...".
    Raises:
      ModelError: if it does not.
    """
    if not isinstance(way, tfp.bijectors.Bijector):
        raise ModelError(
            f"{what} is {kinds.shown(way)}, not a tfb.Bijector",
            hint="For positive values write tfb.Exp() or (0, np.inf), for chances tfb.Sigmoid().",
        )
    if way.forward_min_event_ndims != 0 or way.inverse_min_event_ndims != 0:
        raise ModelError(
            f"{what} is a bijector of vectors",
            hint="Give a bijector of scalars, such as tfb.Exp(), to each parameter of its own.",
        )
    points = tf.constant([-1.0, -0.3, 0.0, 0.4, 1.0], tf.float64)
    try:
        values = way.forward(points)
        back = way.inverse(values)
        rises = np.array([float(slopes(way, point)[0]) for point in points])
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ModelError(f"{what} cannot be evaluated: {brief(error)}", hint=TYPED) from error
    if values.dtype != tf.float64 or values.shape != points.shape:
        raise ModelError(
            f"{what} makes {values.dtype.name} of the shape {tuple(values.shape)} from five float64 "
            "numbers",
            hint=TYPED,
        )
    is_good = np.isfinite(values).all() and np.allclose(back, points, rtol=1e-6, atol=1e-8)
    if not is_good or not (np.abs(rises) > 0).all():
        raise ModelError(
            f"{what} is not one-to-one between -1 and 1: it makes {np.round(values, 4).tolist()} of "
            f"{points.numpy().tolist()}",
            hint="It must take any number: tfb.Exp() does, tfb.Square() does not.",
        )


def _start(
    name: str, start: Mapping[str, float], own_names: tuple[str, ...], scale: Bijected
) -> Floats:
    natural = scale.to_natural(np.zeros(len(own_names)))
    for own, value in start.items():
        if own not in own_names:
            raise ModelError(
                f"the family {name!r} starts {own!r}, which is none of its parameters",
                hint=f"They are: {', '.join(own_names) or 'none'}.",
            )
        natural[own_names.index(own)] = value
    free = scale.to_free(natural)
    for own, value, place in zip(own_names, natural, free, strict=True):
        if not np.isfinite(place):
            raise ModelError(
                f"the family {name!r} starts {own!r} at {value:g}, which its bijector does not reach",
                hint="Give a value inside of its bounds.",
            )
    return natural
