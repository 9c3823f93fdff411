"""Power series of log densities in linear predictors and own parameters, cut off behind the third order.

A family writes its log density once, in series. Each is its value at every row and the coefficients of those
powers of the variables that occur in it: what depends on own parameters alone is one number for all rows, and
what depends on one variable has three coefficients. Derivatives are coefficients times factorials.

Reference: Griewank, Walther (2008), Evaluating Derivatives, 2nd ed., chapter 13, for the propagation of Taylor
coefficients.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from lmeformula.arrays import Ints

# The variables of a power, in ascending order: (0, 0, 2) is x_0^2 x_2.
Powers: TypeAlias = tuple[int, ...]
# Coefficients of powers, one for each row or one for all; a coefficient of the Python number 1.0 costs nothing.
Terms: TypeAlias = dict[Powers, Any]
# A function's value and its derivatives, one after the other, for as long as they are asked for.
Derivatives: TypeAlias = Iterator[Any]


class Space:
    """Which powers of variables a series keeps, of which the first ones are the linear predictors.

    Args:
      num_predictors: K; the further variables are own parameters.
      order: of the powers of predictors that are kept.
      has_own: whether own parameters are variables, as they are for the gradient of a Laplace approximation:
        then powers of the third order are kept, but of two own parameters only by themselves.
    """

    def __init__(self, num_predictors: int, order: int, has_own: bool) -> None:
        self.num_predictors, self.order, self.has_own = num_predictors, order, has_own
        self._products: dict[tuple[Powers, Powers], Powers | None] = {}

    def product(self, a: Powers, b: Powers) -> Powers | None:
        """The product of two powers; None where it is not kept."""
        try:
            return self._products[a, b]
        except KeyError:
            both = tuple(sorted(a + b))
            own = sum(variable >= self.num_predictors for variable in both)
            is_kept = len(both) <= self.order and (own < 2 or len(both) == 2)
            found = both if is_kept else None
            self._products[a, b] = found
            return found

    def variable(self, number: int, value: Any) -> Series:
        """The series of a variable; of an own parameter that is none here, a number."""
        is_one = number < self.num_predictors or self.has_own
        return Series(self, value, {(number,): 1.0} if is_one else {})


@functools.cache
def slopes_space(num_predictors: int) -> Space:
    """That of first and second derivatives in the predictors."""
    return Space(num_predictors, 2, False)


@functools.cache
def scores_space(num_predictors: int) -> Space:
    """That of first derivatives, in predictors and own parameters."""
    return Space(num_predictors, 1, True)


@functools.cache
def depths_space(num_predictors: int) -> Space:
    """That of all that the gradient of a Laplace approximation takes."""
    return Space(num_predictors, 3, True)


class Series:
    """A function of the variables at each row.

    Attributes:
      space: which powers it keeps.
      value: (n,), or a number for all rows.
      terms: the coefficients of its powers, likewise.
    """

    __slots__ = ("space", "terms", "value")
    # NumPy leaves operations with an array to this class.
    __array_ufunc__ = None

    def __init__(self, space: Space, value: Any, terms: Terms) -> None:
        self.space, self.value, self.terms = space, value, terms

    def __neg__(self) -> Series:
        return self * -1.0

    def __add__(self, other: Any) -> Series:
        if not isinstance(other, Series):
            return Series(self.space, self.value + other, self.terms)
        return Series(self.space, self.value + other.value, summed(self.terms, other.terms))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Series:
        if not isinstance(other, Series):
            return Series(self.space, self.value - other, self.terms)
        terms = dict(self.terms)
        for powers, each in other.terms.items():
            terms[powers] = terms[powers] - each if powers in terms else -each
        return Series(self.space, self.value - other.value, terms)

    def __rsub__(self, other: Any) -> Series:
        return Series(self.space, other - self.value, {k: -each for k, each in self.terms.items()})

    def __mul__(self, other: Any) -> Series:
        if not isinstance(other, Series):
            return Series(self.space, self.value * other, times(other, self.terms))
        terms = summed(times(self.value, other.terms), times(other.value, self.terms))
        terms = summed(terms, product(self.space, self.terms, other.terms))
        return Series(self.space, self.value * other.value, terms)

    __rmul__ = __mul__

    def derivative(self, powers: Powers) -> Any:
        """The derivative in these variables."""
        found = self.terms.get(powers, 0.0)
        count = _factorials(powers)
        return found if count == 1 else count * found

    def at(self, rows: Ints) -> Series:
        """The same of some rows."""

        def some(each: Any) -> Any:
            return each[rows] if np.ndim(each) else each

        terms = {powers: some(each) for powers, each in self.terms.items()}
        return Series(self.space, some(self.value), terms)


class Known(Series):
    """A function whose logarithms are known more directly; itself it is worked out once it is asked for.

    Args:
      whole: gives the series.
      log: that of its logarithm.
      log_rest: that of the logarithm of one less it.
    """

    __slots__ = ("_whole", "log", "log_rest")

    def __init__(
        self, whole: Callable[[], Series], log: Series, log_rest: Series | None = None
    ) -> None:
        self.space, self.log, self.log_rest, self._whole = log.space, log, log_rest, whole

    def __getattr__(self, name: str) -> Any:
        """What is not there yet."""
        if name not in ("value", "terms"):
            raise AttributeError(name)
        found = self._whole()
        self.value, self.terms = found.value, found.terms
        return getattr(self, name)

    def at(self, rows: Ints) -> Series:
        """The same of some rows."""
        rest = self.log_rest and self.log_rest.at(rows)
        return Known(lambda: Series.at(self, rows), self.log.at(rows), rest)


def applied(function: Callable[[Any], Derivatives], x: Series) -> Series:
    """A function of a series.

    Args:
      function: of x's value, yields the value and the derivatives.
      x: the series.
    """
    found = function(x.value)
    value = next(found)
    terms: Terms = {}
    power, part = x.terms, 1.0
    for order in range(1, x.space.order + 1):
        if not power:
            break
        each, part = next(found), part / order
        terms = summed(terms, times(each if order == 1 else each * part, power))
        if order < x.space.order:
            power = product(x.space, power, x.terms)
    return Series(x.space, value, terms)


def applied_to_all(function: Callable[..., Derivatives], *arguments: Series) -> Series:
    """A function of several series.

    Args:
      function: of their values, yields its value, then for each order the derivatives by arguments: {(0,): ...,
        (1,): ...}, {(0, 0): ..., (0, 1): ..., (1, 1): ...}, and so on; those that are zero may lack. For one
        that costs something there may be a function, which is called where the derivative is asked for.
      arguments: the series.
    """
    space = arguments[0].space
    found = function(*(each.value for each in arguments))
    value = next(found)
    terms: Terms = {}
    products: dict[Powers, Terms] = {(k,): each.terms for k, each in enumerate(arguments)}

    def of(powers: Powers) -> Terms:
        if powers not in products:
            products[powers] = product(space, of(powers[:-1]), products[powers[-1:]])
        return products[powers]

    for _ in range(space.order):
        # Of arguments that are numbers, or whose products are not kept, no derivative is asked for.
        if not any(products.values()):
            break
        for powers, slope in next(found).items():
            if not of(powers):
                continue
            each, count = slope() if callable(slope) else slope, _factorials(powers)
            terms = summed(terms, times(each if count == 1 else each / count, of(powers)))
    return Series(space, value, terms)


def by_kind(
    kinds: Ints,
    densities: Sequence[tuple[Callable[..., Series], Sequence[Series]]],
    eta: Series,
    response: Sequence[Any],
) -> Series:
    """Log densities of rows of different kinds, each worked out for its own rows alone.

    Args:
      kinds: (n,) which of the densities a row has.
      densities: (eta, response, own) of some rows -> their log density; and the own parameters that it takes.
      eta, response: of all rows.
    """
    present = [kind for kind in range(len(densities)) if (kinds == kind).any()]
    value: Any = np.zeros(len(kinds))
    terms: Terms = {}
    for kind in present:
        density, own = densities[kind]
        if len(present) == 1:
            return density(eta, response, own)
        rows = np.flatnonzero(kinds == kind)
        some = [array[rows] if np.ndim(array) else array for array in response]
        found = density(eta.at(rows), some, [each.at(rows) for each in own])
        value[rows] = found.value
        for powers, each in found.terms.items():
            if powers not in terms:
                terms[powers] = np.zeros(len(kinds))
            terms[powers][rows] = each
    return Series(eta.space, value, terms)


def product(space: Space, a: Terms, b: Terms) -> Terms:
    """The terms of a product of two series without values."""
    found: Terms = {}
    for p, x in a.items():
        for q, y in b.items():
            both = space.product(p, q)
            if both is None:
                continue
            each = _scaled(x, y)
            found[both] = found[both] + each if both in found else each
    return found


@functools.cache
def _factorials(powers: Powers) -> int:
    return math.prod(math.factorial(powers.count(each)) for each in set(powers))


def summed(a: Terms, b: Terms) -> Terms:
    """The terms of a sum."""
    if not a or not b:
        return a or b
    found = dict(a)
    for powers, each in b.items():
        found[powers] = found[powers] + each if powers in found else each
    return found


def times(factor: Any, terms: Terms) -> Terms:
    """The terms of a multiple."""
    return {powers: _scaled(factor, each) for powers, each in terms.items()}


def _scaled(a: Any, b: Any) -> Any:
    if isinstance(b, float) and b == 1.0:
        return a
    if isinstance(a, float) and a == 1.0:
        return b
    return a * b
