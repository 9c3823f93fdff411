"""The parameters that a fit has come to: what it has to show where it must stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.errors import ClusterError
from lmeformula.likelihood.evaluation import Evaluation
from lmeformula.model.params import Params, ParamSpace


@dataclass(eq=False)
class Reached:
    """Where the likelihood was looked at last.

    Attributes:
      space: the model's parameter space.
      params: there; None before.
    """

    space: ParamSpace
    params: Params | None = None

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell of it where rows are lost for good inside."""
        try:
            yield
        except ClusterError as error:
            if self.params is not None and not error.estimates:
                values = self.space.to_report(self.space.to_free(self.params))
                error.had(dict(zip(self.space.names, map(float, values), strict=True)))
            raise


_reached: ContextVar[Reached | None] = ContextVar("reached", default=None)


@contextmanager
def telling(space: ParamSpace) -> Iterator[None]:
    """Tell where likelihoods inside, that are `followed`, were looked at last, if rows are lost for good."""
    reached = Reached(space)
    token = _reached.set(reached)
    try:
        with reached.told():
            yield
    finally:
        _reached.reset(token)


def followed(
    evaluate: Callable[[Floats], Evaluation],
    space: ParamSpace,
    natural: Callable[[Floats], Params],
) -> Callable[[Floats], Evaluation]:
    """A likelihood that says where it was looked at last, to whom wants to tell of it.

    Args:
      evaluate: the likelihood at coordinates.
      space: its model's parameter space.
      natural: coordinates -> the parameters there.
    """
    reached = _reached.get()
    if reached is None:
        return evaluate

    def look(coordinates: Floats) -> Evaluation:
        found = evaluate(coordinates)
        if np.isfinite(found.value):
            reached.space, reached.params = space, natural(coordinates)
        return found

    return look
