"""Functions of a fit as methods of what holds it, each loaded when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")


class Modules:
    """A package whose modules are its attributes, each loaded when it is asked for.

    Example:
      >>> Modules("email").mime.text.MIMEText.__name__
      'MIMEText'
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        module = importlib.import_module(f"{self._name}.{name}")
        found = Modules(module.__name__) if hasattr(module, "__path__") else module
        setattr(self, name, found)
        return found


class Method(Generic[P, R]):
    """A function, whose first argument is the object, as a method with the other arguments.

    Of the class it is the function itself, of an object bound to it: signature, docstring and errors are the
    function's own, and type checkers see them.

    Args:
      find: () -> the function; called when the method is asked for, so that it may load what has it.
      of: the object's attribute that is the first argument; the object itself by default.
    Example:
      >>> class Word(str):
      ...     times = Method(lambda: repeated)
      >>> def repeated(word, n=2):
      ...     return word * n
      >>> Word("ha").times(3)
      'hahaha'
    """

    def __init__(self, find: Callable[[], Callable[Concatenate[Any, P], R]], of: str = "") -> None:
        self._find, self._of = find, of

    @overload
    def __get__(self, held: None, owner: type) -> Callable[Concatenate[Any, P], R]: ...

    @overload
    def __get__(self, held: object, owner: type) -> Callable[P, R]: ...

    def __get__(self, held: object | None, owner: type) -> Callable[..., R]:
        found = self._find()
        if held is None:
            return found
        return MethodType(found, getattr(held, self._of) if self._of else held)
