"""The covariance structures: unconstrained theta <-> Cholesky factor <-> sds and correlations."""

from __future__ import annotations

from lmeformula.model.covariances.diagonal import Diagonal
from lmeformula.model.covariances.one_correlation import OneCorrelation
from lmeformula.model.covariances.patterns import PATTERNS
from lmeformula.model.covariances.structure import Structure, cholesky_semidefinite
from lmeformula.model.covariances.unstructured import Unstructured

__all__ = ["STRUCTURES", "Structure", "cholesky_semidefinite"]

# (kind, homogeneous) -> structure.
STRUCTURES: dict[tuple[str, bool], Structure] = {
    ("us", False): Unstructured(),
    ("diag", False): Diagonal(homogeneous=False),
    ("diag", True): Diagonal(homogeneous=True),
    **{
        (kind, homogeneous): OneCorrelation(pattern, homogeneous=homogeneous)
        for kind, pattern in PATTERNS.items()
        for homogeneous in (False, True)
    },
}
