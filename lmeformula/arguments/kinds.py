"""What an argument of a public call may be: checks by kind, made before anything else is done."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import os
import reprlib
from collections.abc import Callable, Collection, Mapping
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from lmeformula.errors import ArgumentError, ModelError

P = ParamSpec("P")
R = TypeVar("R")
# The name of an argument and its value; raises where it is none of the kind. What it returns, if anything, is
# meant: a word that was written otherwise.
Check = Callable[[str, object], object]

# Seeds are split into two numbers of 31 bits.
MOST_SEED = 2**31 - 1
LONGEST = 60
# Sizes up to this are left to what knows how much one of them is.
MOST_NUMBER = 2**62


def takes(**checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function check the arguments that it is given, by their names, before it starts.

    It gets words as they are called here, however their letters, dashes and dots were written.

    Args:
      **checks: of its parameters; of those taken by place, *fits, of each.
    Returns:
      A decorator.
    Raises:
      ModelError: by the function that it makes, for an argument that is not of its kind.
    Example:
      >>> @takes(level=coverage)
      ... def width(level=0.95):
      ...     return level
      >>> width(level="a")
      Traceback (most recent call last):
      ...
      lmeformula.errors.ModelError: level is 'a'
      Give a coverage between 0 and 1, such as 0.95.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        every = signature.parameters
        by_place = {one.name for one in every.values() if one.kind is one.VAR_POSITIONAL}
        places = [one.name for one in every.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
        by_name = {one.name for one in every.values() if one.kind is one.KEYWORD_ONLY}
        needed = {one.name for one in every.values() if one.default is one.empty}
        is_plain = len(places) + len(by_name) == len(every)

        def counted(args: Any, kwargs: Any) -> Mapping[str, Any] | None:
            """The arguments by name, for a tenth of the time of binding them where none is amiss."""
            given = {**dict(zip(places, args, strict=False)), **kwargs}
            is_whole = len(given) == len(args) + len(kwargs)
            if is_whole and needed <= given.keys() <= every.keys():
                return given
            return _bound(signature, args, kwargs)

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> R:
            given = _bound(signature, args, kwargs) if not is_plain else counted(args, kwargs)
            if given is None:
                _say_unknown(function, signature, kwargs)
                return function(*args, **kwargs)  # one is missing, and Python says which
            for name, value in given.items():
                if name in checks:
                    for one in value if name in by_place else (value,):
                        meant = checks[name](name, one)
                        if meant is not None and meant is not value and name not in by_place:
                            args, kwargs = _replaced(places, name, meant, args, kwargs)
            return function(*args, **kwargs)

        return checked

    return decorate


def _replaced(
    places: list[str], name: str, value: object, args: Any, kwargs: Any
) -> tuple[Any, dict[str, Any]]:
    """The arguments of a call with another value of one."""
    if name in kwargs:
        return args, {**kwargs, name: value}
    place = places.index(name)
    return (*args[:place], value, *args[place + 1 :]), kwargs


def _bound(signature: inspect.Signature, args: Any, kwargs: Any) -> Mapping[str, Any] | None:
    """The arguments by name; None where the call has too many or too few."""
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError:
        return None


def _say_unknown(
    function: Callable[..., object], signature: inspect.Signature, given: Mapping[str, object]
) -> None:
    """Name an argument that a function does not have, and the one that may be meant."""
    every = signature.parameters
    unknown = [name for name in given if name not in every]
    if not unknown or any(one.kind is one.VAR_KEYWORD for one in every.values()):
        return
    # Those that can be given by name; the fit of a method is given already.
    known = [
        one.name
        for one in every.values()
        if one.kind is not one.VAR_POSITIONAL and one.name not in ("self", "fit")
    ]
    near = difflib.get_close_matches(unknown[0].casefold(), known, n=1, cutoff=0.6)
    cure = f"Did you mean {near[0]!r}?" if near else f"It takes {', '.join(known)}."
    call = getattr(function, "__name__", "it")
    raise ArgumentError(f"{call}() got an unexpected keyword argument {unknown[0]!r}", hint=cure)


class _Short(reprlib.Repr):
    def repr_instance(self, x: Any, level: int) -> str:
        """Anything that is no plain value by its kind: its own words may be a page."""
        return _kind(x)


def shown(value: object) -> str:
    """A value as a message shows it: in a few words, whatever it is.

    Example:
      >>> shown("a" * 1000)
      "'aaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    short = _Short()
    short.maxstring = short.maxlong = short.maxother = LONGEST
    try:
        return short.repr(value)
    except ValueError:  # more digits than Python writes
        return "a number of thousands of digits"


def _kind(value: Any) -> str:
    """A plain value as it is written; anything else by its kind."""
    if value is None or isinstance(value, bytes | Real | complex):
        return _cut(repr(value))
    kind = type(value)
    if kind.__module__.partition(".")[0] in ("numpy", "pandas") and hasattr(value, "shape"):
        noun = "array" if kind.__name__ == "ndarray" else kind.__name__
        return f"{_article(noun)} of shape {value.shape}"
    if isinstance(value, type) or inspect.isroutine(value):
        return _cut(repr(value))
    return _article(kind.__name__)


def _cut(written: str) -> str:
    return written if len(written) <= LONGEST else f"{written[:LONGEST]}..."


def refuse(name: str, value: object, hint: str) -> ModelError:
    """The error of an argument that is not of its kind."""
    return ModelError(f"{name} is {shown(value)}", hint=hint)


def that(holds: Callable[[Any], bool], hint: str) -> Check:
    """What a condition holds of; `hint` says what to give.

    Example:
      >>> that(str.islower, "Give small letters.")("name", "X")
      Traceback (most recent call last):
      ...
      lmeformula.errors.ModelError: name is 'X'
      Give small letters.
    """

    def checked(name: str, value: object) -> None:
        if not holds(value):
            raise refuse(name, value, hint)

    return checked


def optional(check: Check) -> Check:
    """None, or what the other check takes."""

    def checked(name: str, value: object) -> object:
        return None if value is None else check(name, value)

    return checked


def either(first: Check, second: Check) -> Check:
    """What one check takes or the other, whose words count."""

    def checked(name: str, value: object) -> object:
        try:
            return first(name, value)
        except ModelError:
            return second(name, value)

    return checked


def folded(word: str) -> str:
    """A word as far as it tells apart: small letters, without what joins its parts.

    Example:
      >>> folded("Kenward-Roger"), folded("kenward_roger")
      ('kenwardroger', 'kenwardroger')
    """
    return "".join(letter for letter in word.casefold() if letter.isalnum())


def one_of(*words: str | None) -> Callable[[str, object], str | None]:
    """One of some texts, or None where it is among them; whichever way its letters are written.

    Example:
      >>> one_of("exact", "laplace")("method", "Laplace")
      'laplace'
    """

    def checked(name: str, value: object) -> str | None:
        if value is None and None in words:
            return None
        if isinstance(value, str):
            if value in words:
                return value
            near = [word for word in words if word is not None and folded(word) == folded(value)]
            if len(near) == 1:
                return near[0]
        listed = ", ".join(map(repr, words))
        if len(words) == 2:
            listed = " or ".join(map(repr, words))
        raise refuse(name, value, f"Choose {'one of ' if len(words) > 2 else ''}{listed}.")

    return checked


def whole(least: int, most: int | None = None) -> Check:
    """A whole number in a range."""

    def checked(name: str, value: object) -> None:
        if not is_whole(value) or value < least:  # type: ignore[operator]
            raise refuse(name, value, f"Give a whole number of at least {least}.")
        if most is not None and value > most:  # type: ignore[operator]
            raise refuse(name, value, f"Give a whole number of at most {most}.")

    return checked


def is_whole(value: object) -> bool:
    """Whether it is a whole number by its type; truth values are none."""
    return hasattr(type(value), "__index__") and not _is_truth(value) and not _is_array(value)


def is_number(value: object) -> bool:
    """Whether it is a finite real number by its type; truth values are none."""
    if not isinstance(value, Real) or _is_truth(value):
        return False
    try:
        return math.isfinite(value)
    except (OverflowError, ValueError):
        return False


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 < value < 1


def _is_truth(value: object) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


# How many of something there are to be; how many there is room for is seen where that is known.
count = whole(1, MOST_NUMBER)
# A seed of random numbers.
seed = that(
    lambda value: is_whole(value) and 0 <= value <= MOST_SEED,
    f"Give a whole number from 0 to {MOST_SEED}.",
)
number = that(is_number, "Give a finite number.")
positive = that(lambda value: is_number(value) and value > 0, "Give a positive number.")
not_negative = that(
    lambda value: is_number(value) and value >= 0, "Give a positive number, or zero."
)
# Of an interval, and of a test.
coverage = that(_is_share, "Give a coverage between 0 and 1, such as 0.95.")
significance = that(_is_share, "Give a level of significance, such as 0.05.")
flag = that(_is_truth, "Give True or False.")
text = that(lambda value: isinstance(value, str), "Give a text.")
function = that(callable, "Give a function.")
# What shows the progress of a run.
display = that(
    lambda value: all(callable(getattr(value, part, None)) for part in ("start", "update", "stop")),
    "Give an object with start(names), update(iteration) and stop().",
)
# From names.
mapping = that(
    lambda value: isinstance(value, Mapping) and all(isinstance(one, str) for one in value),
    "Give a dictionary whose keys are names.",
)


def flags(name: str, value: object) -> None:
    """Several of True and False."""
    if not isinstance(value, tuple | list):
        raise refuse(name, value, "Give True or False for each.")
    for one in value:
        flag(name, one)


def texts(name: str, value: object) -> None:
    """A text, or texts by name, of which some may be None."""
    if isinstance(value, str):
        return
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise refuse(name, value, "Give a text, or a dictionary of texts by name.")
    for key, one in value.items():
        if one is not None and not isinstance(one, str):
            raise refuse(f"{name}[{key!r}]", one, "Give a text, or None.")


def names(name: str, value: object) -> None:
    """A name, or several."""
    if isinstance(value, str):
        return
    is_several = isinstance(value, Collection) and not isinstance(value, bytes | Mapping)
    if getattr(value, "shape", (0,)) == ():  # an array that holds a single value
        is_several = False
    if not is_several or not all(isinstance(one, str) for one in value):  # type: ignore[attr-defined]
        raise refuse(name, value, "Give a name, or a list of names.")


def functions(name: str, value: object) -> None:
    """Functions by name."""
    mapping(name, value)
    for known, one in value.items():  # type: ignore[attr-defined]
        if not callable(one):
            raise refuse(f"{name}[{known!r}]", one, "Give functions by name, {'f': f}.")


def path(name: str, value: object) -> None:
    """Where a file is."""
    if not isinstance(value, str | os.PathLike):
        raise refuse(name, value, "Give the path of a file, a text or a pathlib.Path.")
    written = os.fspath(value)
    try:
        is_one = bool(written) and b"\0" not in os.fsencode(written)
    except (TypeError, UnicodeEncodeError):
        is_one = False
    if not is_one:
        raise refuse(name, written, "It is the name of no file.")


def instance(kind: type, hint: str) -> Check:
    """An instance of a class; `hint` says how to come by one."""
    return that(lambda value: isinstance(value, kind), hint)


def _is_array(value: object) -> bool:
    # Arrays have __index__, which works for those of one number.
    return hasattr(value, "shape") and hasattr(value, "__array__") and not isinstance(value, Real)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
