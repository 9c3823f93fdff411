"""The covariance structures: unconstrained theta <-> Cholesky factor <-> sds and correlations."""

from __future__ import annotations

from lmeformula.design.design import TermBlock
from lmeformula.model.covariances.diagonal import Diagonal
from lmeformula.model.covariances.one_correlation import OneCorrelation
from lmeformula.model.covariances.patterns import PATTERNS
from lmeformula.model.covariances.structure import Structure, cholesky_semidefinite
from lmeformula.model.covariances.unstructured import Unstructured

__all__ = ["STRUCTURES", "Structure", "cholesky_semidefinite", "structure_of"]

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


def structure_of(term: TermBlock) -> Structure:
    """The structure of a term's covariance; of Student's t, of its scale matrix."""
    return STRUCTURES[(term.covariance, term.homogeneous)]
