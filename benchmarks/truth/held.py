"""A case with its fit, and what a property says of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import lmeformula as lf
from truth.covariances import Shape
from truth.matrices import Matrices, matrices
from truth.spec import Case, Spec

# Log-likelihoods of one model reached by two ways: converged fits are within this of the maximum.
SAME_LOGLIK = 1e-4


class Finding(NamedTuple):
    """What was found of one property.

    Attributes:
      name: of the property.
      size: the discrepancy over its tolerance: above one, or nan, it fails.
      words: what differs from what, where it fails.
    """

    name: str
    size: float
    words: str = ""

    @property
    def fails(self) -> bool:
        return not self.size <= 1.0


def fitted(data: Any, spec: Spec, **more: Any) -> lf.Fit:
    """Fit a model to data, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lf.fit(spec.formula, data, **{**spec.options, **more})


@dataclass(frozen=True)
class Held:
    """A case and its fit.

    Attributes:
      case: the data and the model.
      fit: of the model to the data.
      rng: random numbers of the properties, the case's own.
    """

    case: Case
    fit: lf.Fit
    rng: np.random.Generator

    @property
    def data(self) -> pd.DataFrame:
        return self.case.data

    @property
    def spec(self) -> Spec:
        return self.case.spec

    @cached_property
    def parts(self) -> Matrices:
        """The model matrices, from the rows and the names of the columns."""
        design = self.fit.model.design
        return matrices(self.data, self.spec, design.names, [term.columns for term in design.terms])

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(term.shape for term in self.parts.effects)

    @property
    def num_fixed(self) -> int:
        return len(self.fit.model.design.names)

    @property
    def theta_size(self) -> int:
        """How many of the reported parameters are standard deviations and correlations."""
        return sum(each.size for each in self.shapes)

    @property
    def theta(self) -> np.ndarray:
        """They themselves, term by term."""
        return self.fit.param_values[self.num_fixed : self.num_fixed + self.theta_size]

    @property
    def spread(self) -> float:
        """The size of a residual: what fitted values are compared by."""
        return float(self.fit.sigma or 1.0)

    @cached_property
    def means(self) -> np.ndarray:
        """(rows of the data,) fitted values by place, nan where a row has gaps."""
        return placed(self.fit, len(self.data))


def placed(fit: lf.Fit, num_rows: int) -> np.ndarray:
    """Fitted values by the place of the row in the data."""
    found = np.full(num_rows, np.nan)
    found[fit.model.design.rows] = np.asarray(fit.fitted(), float)
    return found


def by_term(values: np.ndarray, shapes: tuple[Shape, ...]) -> list[np.ndarray]:
    """Reported standard deviations and correlations of each term."""
    ends = np.cumsum([each.size for each in shapes])
    return np.split(values, ends[:-1]) if shapes else []


def largest(difference: np.ndarray) -> float:
    """The largest absolute value, 0 of none; nan stays nan."""
    return float(np.max(np.abs(difference))) if np.size(difference) else 0.0
