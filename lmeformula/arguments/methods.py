"""Functions of a fit as methods of what holds it, each loaded when it is first asked for."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
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
        return Bound(found, getattr(held, self._of) if self._of else held)


class Bound(functools.partial[R]):
    """A function whose first argument is given; shown, it says that it is to be called.

    Args:
      function: the function.
      held: its first argument.
    Example:
      >>> def repeated(word, n=2):
      ...     return word * n
      >>> Bound(repeated, "ha")
      repeated(n=2) is a method: call it.
      >>> Bound(repeated, "ha")()
      'haha'
    """

    def __init__(self, function: Callable[..., R], held: object) -> None:
        # Arguments are taken when it is made.
        functools.update_wrapper(self, function)

    def __get__(self, held: object, owner: type | None = None) -> Bound[R]:
        # It is bound; that it could be is how `help` tells routines.
        return self

    @property
    def __signature__(self) -> inspect.Signature:
        whole = inspect.signature(self.func)
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        call = getattr(self.func, "__name__", "it")
        raise AttributeError(f"{call} is a method: write {call}().{name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return self.func == other.func and self.args[0] is other.args[0]

    def __hash__(self) -> int:
        return hash((self.func, id(self.args[0])))

    def __repr__(self) -> str:
        shown = self.__signature__.replace(return_annotation=inspect.Signature.empty)
        plain = [one.replace(annotation=one.empty) for one in shown.parameters.values()]
        call = getattr(self.func, "__name__", "it")
        return f"{call}{shown.replace(parameters=plain)} is a method: call it."
