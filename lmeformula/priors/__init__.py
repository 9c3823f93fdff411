"""Priors of parameters: densities by name, each a small record.

A prior's density is that of the parameter on its natural scale: of a coefficient as it is reported, of a
standard deviation, of a correlation matrix, of a covariance matrix, of a family's own parameter. No Jacobian is
added, so that where the posterior density is highest hangs on no parametrisation of ours.
"""

from lmeformula.priors.matrices import LKJ, InverseWishart, Wishart
from lmeformula.priors.parse import prior
from lmeformula.priors.positive import (
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudent,
    InverseGamma,
    LogNormal,
)
from lmeformula.priors.real import Cauchy, Normal, Student
from lmeformula.priors.record import Matrix, Prior, Scalar
from lmeformula.priors.shares import Beta

__all__ = [
    "LKJ",
    "Beta",
    "Cauchy",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudent",
    "InverseGamma",
    "InverseWishart",
    "LogNormal",
    "Matrix",
    "Normal",
    "Prior",
    "Scalar",
    "Student",
    "Wishart",
    "prior",
]
