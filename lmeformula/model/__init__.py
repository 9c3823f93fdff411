"""Design -> Model: families, covariance structures, parameters and the TFP joint distribution."""

from lmeformula.family import Family
from lmeformula.model.compile import Model, compile
from lmeformula.model.params import Params

__all__ = ["Family", "Model", "Params", "compile"]
