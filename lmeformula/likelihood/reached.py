"""The parameters that a fit has come to: what it has to show where it must stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lmeformula.errors import ClusterError
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
