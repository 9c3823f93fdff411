"""Result stage: the likelihood of a model with effects by Student's t, by quadrature, for its profile."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.model.compile import Model
from lmeformula.result.parameters import Parameter
from lmeformula.result.profile_gaussian import Slice
from lmeformula.result.profile_laplace import Value, likelihood_slice
from lmeformula.startup import import_tensorflow

Floats = NDArray[np.float64]


def heavy_slice(fit: FittedModel, parameter: Parameter, index: int) -> Slice:
    """The surface of one parameter of a fit with effects by Student's t.

    Args:
      fit: the fit.
      parameter: which.
      index: its position in `fit.param_names`.
    Raises:
      ModelError: where effects hang together in blocks of more than two, or degrees of freedom are at an end.
    """
    heavy = [df for df in fit.params.freedom if math.isfinite(df)]
    if len(heavy) < sum(name.startswith("df(") for name in fit.param_names) or min(heavy) <= 1.0:
        raise ModelError(
            "no profile likelihood where degrees of freedom of effects ended at infinity, or at 1",
            hint='At infinity effects are Gaussian: profile a fit without dist; or use method="wald".',
        )
    return likelihood_slice(fit, parameter, index, _evaluator)


def _evaluator(model: Model) -> Value:
    import_tensorflow()
    from lmeformula.sampling.student_problem import HeavyModel
    from lmeformula.sampling.student_quadrature import heavy_likelihood

    likelihood = heavy_likelihood(HeavyModel(model))
    if likelihood is None:
        raise ModelError(
            "no profile likelihood of effects by Student's t of which more than two hang together",
            hint="Without quadrature over each level its log-likelihood has a Monte Carlo error; use "
            'method="wald".',
        )

    def evaluate(psi: Floats) -> tuple[float, Floats]:
        try:
            found = likelihood.at(psi, with_gradient=True)
        except np.linalg.LinAlgError:
            return -np.inf, np.zeros(len(psi))
        return found.value, found.gradient

    return evaluate
