"""Families of the user's own: a record from any TFP distribution, tried out when it is made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.model.family.bijected import Bijected
from lmeformula.model.family.bijector_trial import check_bijector
from lmeformula.model.family.bounded import between
from lmeformula.model.family.checks import check_rows, numbers, refuse_weights, response_of
from lmeformula.model.family.constant import Climber, Constant
from lmeformula.model.family.links import LINKS, mean_of
from lmeformula.model.family.own import NO_OWN, Own
from lmeformula.model.family.parts import Parts
from lmeformula.model.family.record import Arrays
from lmeformula.model.family.record import Family as Record
from lmeformula.model.family.score_trial import check_score
from lmeformula.model.family.supports import Support, support_of
from lmeformula.model.family.table import FAMILIES
from lmeformula.model.family.trial import is_mean, takes_single, try_out

Floats = NDArray[np.float64]
Tensor = Any


@kinds.takes(
    parameters=kinds.optional(kinds.mapping),
    start=kinds.optional(kinds.mapping),
)
def Family(
    name: str,
    distribution: Callable[..., Any],
    *,
    link: Any = "identity",
    parameters: Mapping[str, Any] | None = None,
    support: str | Callable[[Floats], NDArray[np.bool_]] = "real",
    start: Mapping[str, float] | None = None,
    mean: Callable[..., Any] | None = None,
) -> Record:
    """Make a response family of your own; it is tried out at once, and fits like a built-in one.

    Everything that a fit needs comes from the distribution by automatic differentiation, to the third
    derivative in the predictor.

    Args:
      name: what the family is called: letters, digits and underscores, and no built-in family's name.
      distribution: (mu, and the own parameters by name) -> a tfd.Distribution with a row for each element of
        mu, which is the inverse link of the linear predictor. Own parameters come as tensors that go together
        with mu.
      link: of mu: "identity", "log", "logit", "probit", "cloglog", "cauchit", or a tfb.Bijector from the
        linear predictor to mu.
      parameters: the family's own parameters by name, each with a tfb.Bijector from any number to its values,
        such as tfb.Exp(), or with its bounds, such as (0, np.inf). Numbers inside of a bijector must be
        float64: tfb.Shift(np.float64(1)).
      support: the responses that there are: "real", "positive", "nonnegative", "unit" (strictly between 0 and
        1), "count" or "binary", or a function of an array of responses that says which are suitable.
      start: values of own parameters to start the search from; those that the bijectors make of zero by
        default. The search finds others where the data say so.
      mean: the expected response, with the arguments of `distribution`; by default its mean in TFP.
    Returns:
      The record, for `lf.fit(..., family=...)`. A saved fit holds its name and link, not the functions: give
      it again to `lf.load(path, family=...)`.
    Raises:
      ModelError: if the distribution has the wrong shape or type, no finite derivatives at ordinary points,
        draws outside of the support or none at all, kinks instead of a curvature, or draws that are not
        from its density; or if an argument is not one of those named here.
    References:
      McCullagh, Nelder (1989), Generalized Linear Models, 2nd ed., chapter 2, for links and responses.
    Example:
      >>> import tensorflow_probability as tfp
      >>> import lmeformula as lf
      >>> gumbel = lf.Family(
      ...     "gumbel",
      ...     lambda mu, scale: tfp.distributions.Gumbel(mu, scale),
      ...     parameters={"scale": tfp.bijectors.Exp()},
      ... )
      >>> gumbel
      Family(gumbel(identity))
      >>> data = lf.datasets.load("sleepstudy")
      >>> fit = lf.fit("Reaction ~ Days + (1 | Subject)", data, gumbel, method="laplace")
      >>> fit.family_params.round(1).to_dict()
      {'scale': 27.7}
    """
    _check_name(name)
    scale = Bijected(_bijectors(name, parameters or {}))
    own_names = tuple(parameters or {})
    parts = Parts(
        name,
        own_names,
        _by_name(name, distribution, own_names),
        _inverse_link(name, link),
        scale,
        _start(name, start or {}, own_names, scale),
    )
    taken = support_of(name, support)
    try_out(parts, taken)
    check_score(parts)
    rules = Rules(parts, taken, link, mean, takes_single(parts))
    return Record(
        name=name,
        link=link if isinstance(link, str) else link.name,
        response=rules.response,
        distribution=rules.distribution,
        mean=rules.mean,
        working=rules.working,
        own=rules.own,
        variance=rules.variance if is_mean(parts) else None,
        own_names=own_names,
        scale=scale,
    )


@dataclass(frozen=True, eq=False)
class Rules:
    """The functions of the record of a user's family.

    Attributes:
      parts: what it is made of.
      support: the responses that it takes.
      link: as the user gave it.
      expected: the user's function for the mean, or None.
      in_single: whether the distribution takes single precision.
    """

    parts: Parts
    support: Support
    link: Any
    expected: Callable[..., Any] | None
    in_single: bool

    def response(self, design: Design) -> Arrays:
        """The response, refused where it is not in the support."""
        name, needs = self.parts.name, self.support.words
        hint = "The family takes what its `support` says."
        values = numbers(design, name, needs, hint)
        check_rows(design, name, ~self.support.holds(values), needs, hint)
        refuse_weights(design, name)
        return (values,)

    def distribution(self, eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
        """Of rows, at their predictors."""
        if eta.dtype != np.float64 and not self.in_single:
            raise ModelError(
                f"the distribution of the family {self.parts.name!r} does not take {eta.dtype.name} numbers",
                hint='Fit with dtype="float64", or take the types of its numbers from mu.dtype.',
            )
        return self.parts.build(self.parts.inverse(eta), own)

    @cached_property
    def climber(self) -> Climber:
        """Finds start values."""

        def density(eta: Tensor, y: Tensor, free: list[Tensor]) -> Tensor:
            return self.distribution(eta, (), self.parts.scale.tensors(free)).log_prob(y)

        return Climber(density, self.parts.scale.to_free(self.parts.start))

    def constant(self, values: Floats) -> Constant:
        """The best constant predictor."""
        quantiles = np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9])
        return self.climber(values, np.concatenate([[quantiles.mean()], self.forward(quantiles)]))

    def forward(self, values: Floats) -> Floats:
        """The link of values, not finite where they are no values of mu."""
        if isinstance(self.link, str):
            with np.errstate(all="ignore"):
                return np.asarray(LINKS[self.link].forward(values), float)
        import tensorflow as tf

        return np.asarray(self.link.inverse(tf.constant(values, tf.float64)))

    def working(self, response: Arrays) -> Floats:
        """Responses on the scale of the predictor."""
        return self.climber.working(response[0], self.constant(response[0]))

    def own(self, design: Design) -> Own:
        """The own parameters, where the best constant predictor has them."""
        if not self.parts.names:
            return NO_OWN
        free = self.constant(np.asarray(response_of(design).values, float)).free
        names, scale = self.parts.names, self.parts.scale
        return Own("_".join(names), names, scale.to_natural(free), scale)

    def mean(self, eta: Floats, own: Floats) -> Floats:
        """Expected responses, as the user or the distribution has them."""
        import tensorflow as tf

        mu, given = self.parts.inverse(tf.constant(eta, tf.float64)), _tensors(own)
        if self.expected is not None:
            found = self.expected(mu, **dict(zip(self.parts.names, given, strict=True)))
        else:
            try:
                found = self.parts.build(mu, given).mean()
            except NotImplementedError:
                raise ModelError(
                    f"the distribution of the family {self.parts.name!r} has no mean in TFP",
                    hint="Give lf.Family a function for it, mean=lambda mu, ...: ..., or predict "
                    'with kind="link".',
                ) from None
        return np.broadcast_to(np.asarray(found, np.float64), np.shape(eta)).copy()

    def variance(self, mean: Floats, own: Floats) -> Floats:
        """Variances of responses with these means, where mu is the mean."""
        import tensorflow as tf

        made = self.parts.build(tf.constant(mean, tf.float64), _tensors(own))
        return np.broadcast_to(np.asarray(made.variance(), np.float64), np.shape(mean)).copy()


def _tensors(own: Floats) -> tuple[Tensor, ...]:
    import tensorflow as tf

    return tuple(tf.constant(value, tf.float64) for value in own)


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
    name: str, distribution: Any, own_names: tuple[str, ...]
) -> Callable[[Tensor, tuple[Tensor, ...]], Any]:
    """(mu, own) -> distribution, with the own parameters by name."""
    written = f"lambda {', '.join(('mu', *own_names))}: ..."
    if not callable(distribution):
        raise ModelError(
            f"the distribution of the family {name!r} is {kinds.shown(distribution)}, not a function",
            hint=f"Give a function that makes a tfd.Distribution: distribution={written}",
        )
    try:
        inspect.signature(distribution).bind(0.0, **dict.fromkeys(own_names, 0.0))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the distribution of the family {name!r} does not take mu"
            + "".join(f", {own}" for own in own_names)
            + f": {error}",
            hint=f"Write distribution={written} with the names that `parameters` has.",
        ) from None
    return lambda mu, own: distribution(mu, **dict(zip(own_names, own, strict=True)))


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
        if not (isinstance(own, str) and own.isidentifier()):
            raise ModelError(
                f"{what} is not named as an argument can be",
                hint="Write parameters={'scale': ...}.",
            )
        if isinstance(way, tuple | list):
            way = _from_bounds(what, way)
        check_bijector(way, what)
        found.append(way)
    return found


def _from_bounds(what: str, bounds: Any) -> Any:
    import tensorflow_probability as tfp

    ends = np.asarray(bounds, float)
    if ends.shape != (2,) or not ends[0] < ends[1] or (np.isinf(ends[0]) and np.isfinite(ends[1])):
        raise ModelError(
            f"{what} has the bounds {bounds!r}",
            hint="Give the lower and the upper one, such as (0, np.inf) or (1, 2), or a tfb.Bijector.",
        )
    if np.isinf(ends[0]):
        return tfp.bijectors.Identity()
    return between(float(ends[0]), float(ends[1]))


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
