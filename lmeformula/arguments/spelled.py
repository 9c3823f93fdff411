"""Arguments that go by other names elsewhere: taken with a word, or answered with what to write here."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from lmeformula.errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")


def spelled(**others: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function take other spellings of its arguments, by name.

    Args:
      **others: another spelling -> the argument's name.
    Returns:
      A decorator; outermost, so that the warning points at the call.
    Raises:
      ArgumentError: by the function that it makes, where both spellings are given.
    Example:
      >>> @spelled(type="kind")
      ... def predict(kind="response"):
      ...     return kind
      >>> import warnings
      >>> with warnings.catch_warnings(record=True) as caught:
      ...     warnings.simplefilter("always")
      ...     predict(type="link"), str(caught[0].message)
      ('link', "predict() calls it kind: kind='link'")
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def taken(*args: P.args, **kwargs: P.kwargs) -> R:
            for other, name in others.items():
                if other not in kwargs:
                    continue
                call = getattr(function, "__name__", "it")
                if name in kwargs:
                    raise ArgumentError(f"{call}() got {other} and {name}, which are one argument")
                value = kwargs.pop(other)
                kwargs[name] = value
                shown = f": {name}={value!r}" if isinstance(value, str | bool | int) else ""
                warnings.warn(f"{call}() calls it {name}{shown}", FutureWarning, stacklevel=2)
            return function(*args, **kwargs)

        return taken

    return decorate


def said_otherwise(**cures: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function say what to write for arguments that it does not have and other packages do.

    Args:
      **cures: the other packages' argument -> what to write here, a sentence.
    Returns:
      A decorator.
    Raises:
      ArgumentError: by the function that it makes, for such an argument.
    Example:
      >>> @said_otherwise(subset="Give it the rows alone.")
      ... def fit(data):
      ...     return len(data)
      >>> fit([1], subset=[True])
      Traceback (most recent call last):
      ...
      lmeformula.errors.ArgumentError: fit() has no argument 'subset'
      Give it the rows alone.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def known(*args: P.args, **kwargs: P.kwargs) -> R:
            for other, cure in cures.items():
                if other in kwargs:
                    call = getattr(function, "__name__", "it")
                    raise ArgumentError(f"{call}() has no argument {other!r}", hint=cure)
            return function(*args, **kwargs)

        return known

    return decorate
