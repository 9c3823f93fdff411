"""The rows of many responses: their log densities and derivatives, a replicate in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.family import Depths, Slopes
from lmeformula.likelihood.laplace.rows import RowDerivatives, derivatives_of, stacked_form
from lmeformula.model.compile import Model


class ManyDepths(NamedTuple):
    """The further derivatives of a replicates' rows, as those of `Depths`.

    Attributes:
      third: (a, n).
      own_each, own_first, own_second: (a, f, n).
      own_own: (a, f, f).
    """

    third: Floats
    own_each: Floats
    own_own: Floats
    own_first: Floats
    own_second: Floats


class ManyRows:
    """Derivatives of the rows of m responses of a model with one linear predictor.

    Without own parameters of the family the rows of all replicates are one call. Own parameters are a
    replicate's own, for which its rows are a call by themselves.

    Args:
      model: the model, of any response.
      responses: (m) response arrays, n in front where they are of rows.
      order: (n,) the order of the rows here.
    """

    def __init__(self, model: Model, responses: Sequence[tuple[Floats, ...]], order: Ints) -> None:
        self.family, self.scale, self.size = (
            model.family,
            model.space.own.scale,
            model.space.own.size,
        )
        self.mixture = model.stack.mixture
        each = zip(*responses, strict=True)
        self.arrays = tuple(
            np.stack(parts)[:, order] if np.ndim(parts[0]) else np.asarray(parts[0])
            for parts in each
        )
        self.is_of_rows = tuple(bool(np.ndim(part)) for part in responses[0])
        self._singles: dict[int, RowDerivatives] = {}

    def slopes(self, eta: Floats, own: Floats, which: Ints) -> Slopes:
        """Values and two derivatives (a, n) at predictors (a, n) and unconstrained own parameters (a, f)."""
        if not self.size:
            found = self._of_all(which).slopes(eta.reshape(-1), own[0])
            return Slopes(*(part.reshape(eta.shape) for part in found))
        each = [self._of_one(int(r)).slopes(*at) for r, *at in zip(which, eta, own, strict=True)]
        return Slopes(*(np.stack(parts) for parts in zip(*each, strict=True)))

    def depths(self, eta: Floats, own: Floats, which: Ints) -> ManyDepths:
        """The further derivatives at the same."""
        if not self.size:
            third = self._of_all(which).depths(eta.reshape(-1), own[0]).third
            nothing = np.zeros((len(eta), 0, eta.shape[1]))
            square = np.zeros((len(eta), 0, 0))
            return ManyDepths(third.reshape(eta.shape), nothing, square, nothing, nothing)
        each = [
            _deep(self._of_one(int(r)).depths(*at)) for r, *at in zip(which, eta, own, strict=True)
        ]
        return ManyDepths(*(np.stack(parts) for parts in zip(*each, strict=True)))

    def response(self, which: Ints) -> tuple[Floats, ...]:
        """The response arrays (a n, ...) of some replicates, one behind the other."""
        return tuple(
            array[which].reshape(-1, *array.shape[2:]) if of_rows else array
            for array, of_rows in zip(self.arrays, self.is_of_rows, strict=True)
        )

    def _of_all(self, which: Ints) -> RowDerivatives:
        response = self.response(which)
        mixture = self.mixture._replace(num_rows=len(which) * self.mixture.num_rows)
        form = stacked_form(self.family, response, mixture)
        return derivatives_of(form, response, self.scale, mixture)

    def _of_one(self, replicate: int) -> RowDerivatives:
        if replicate not in self._singles:
            response = self.response(np.array([replicate]))
            form = stacked_form(self.family, response, self.mixture)
            found = derivatives_of(form, response, self.scale, self.mixture)
            self._singles[replicate] = found
        return self._singles[replicate]


def _deep(found: Depths) -> ManyDepths:
    return ManyDepths(found.third.reshape(-1), *found[1:])
