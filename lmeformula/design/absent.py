"""The place of rows that are not here: it knows their shape, and says why it has no numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from lmeformula.errors import ModelError

if TYPE_CHECKING:
    from lmeformula.design.design import Design


class Why(NamedTuple):
    """Why rows are not here, and what to do about it."""

    problem: str
    hint: str


SAVED = Why(
    "this fit was loaded without the rows of its data, and they are needed here",
    "Give them again, lf.load(path, data=...), or save it with fit.save(path, data=True) to keep them. "
    "Without them it predicts new rows, fit.predict(newdata), and gives intervals of the population, "
    're_form="NA".',
)

WITH_WORKERS = Why(
    "the rows of this fit are with the workers of a cluster, and they are needed here",
    "Ask for new rows, fit.predict(newdata), a part of them at a time; or fit with cluster=False, which reads "
    "the rows into this process.",
)


class AbsentRows(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands where an array over the rows of the data stood.

    Whatever asks for its numbers gets a ModelError that says how to have them; whatever asks how many rows
    there were gets the answer.

    Attributes:
      shape: of the array that was left out.
      why: it was.
    Example:
      >>> rows = AbsentRows((180, 2))
      >>> len(rows), rows.ndim
      (180, 2)
      >>> rows @ np.ones(2)
      Traceback (most recent call last):
      lmeformula.errors.ModelError: this fit was loaded without the rows of its data, and they are needed here
      Give them again, lf.load(path, data=...), or save it with fit.save(path, data=True) to keep them...
    """

    __slots__ = ("shape", "why")

    shape: tuple[int, ...]
    why: Why

    def __init__(self, shape: tuple[int, ...], why: Why = SAVED) -> None:
        self.shape = shape
        self.why = why

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"AbsentRows(shape={self.shape})"

    def __iter__(self) -> Iterator[Any]:
        self._refuse()

    def __getitem__(self, place: object) -> NoReturn:
        self._refuse()

    def __array__(self, *given: object, **options: object) -> NoReturn:
        self._refuse()

    def __array_ufunc__(self, *given: object, **options: object) -> NoReturn:
        self._refuse()

    def __array_function__(self, *given: object) -> NoReturn:
        self._refuse()

    def __getattr__(self, name: str) -> NoReturn:
        # Python, NumPy and pandas look for protocols by such names; everything else is meant for an array.
        if name.startswith("__") or name in AbsentRows.__slots__:
            raise AttributeError(name)
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ModelError(self.why.problem, hint=self.why.hint)


def has_rows(design: Design) -> bool:
    """Whether a design has its rows, or was loaded without them, or they are with workers."""
    X: object = design.X
    return not isinstance(X, AbsentRows)


def elsewhere(*shape: int) -> Any:
    """What stands for an array of rows that are with the workers of a cluster."""
    return AbsentRows(shape, WITH_WORKERS)
