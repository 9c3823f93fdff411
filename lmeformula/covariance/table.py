"""The structures of the kinds of covariance that a formula can ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lmeformula.arrays import Floats
from lmeformula.covariance.autoregressive import Autoregressive
from lmeformula.covariance.compound_symmetry import CompoundSymmetry
from lmeformula.covariance.decaying import Decaying, Ranged
from lmeformula.covariance.diagonal import Diagonal
from lmeformula.covariance.direct_sum import DirectSum
from lmeformula.covariance.known import Known
from lmeformula.covariance.loadings import Loadings
from lmeformula.covariance.matern import Matern
from lmeformula.covariance.one_correlation import OneCorrelation
from lmeformula.covariance.shared import Shared
from lmeformula.covariance.structure import Structure
from lmeformula.covariance.toeplitz import Toeplitz
from lmeformula.covariance.unstructured import Unstructured
from lmeformula.formula.kinds import KINDS

BUILD: dict[str, Callable[[bool], Structure]] = {
    "us": lambda homogeneous: Unstructured(),
    "diag": lambda homogeneous: Diagonal(homogeneous=homogeneous),
    "cs": lambda homogeneous: OneCorrelation("cs", CompoundSymmetry(), homogeneous=homogeneous),
    "ar1": lambda homogeneous: OneCorrelation("ar1", Autoregressive(), homogeneous=homogeneous),
    "toep": lambda homogeneous: Toeplitz(homogeneous=homogeneous),
}
# Those of positions: the power of the distance.
POWERS = {"ou": 1.0, "exp": 1.0, "gau": 2.0}
# (kind, homogeneous) of those that there are, and of those without positions -> structure.
KNOWN = {(name, homogeneous) for name, kind in KINDS.items() for homogeneous in kind.choices}
STRUCTURES: dict[tuple[str, bool], Structure] = {
    (name, homogeneous): BUILD[name](homogeneous)
    for name, homogeneous in sorted(KNOWN)
    if name in BUILD
}


class Written(Protocol):
    """A term whose covariance is known by its kind."""

    @property
    def covariance(self) -> str:
        """The kind."""

    @property
    def homogeneous(self) -> bool:
        """Whether all coefficients have one variance."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its coefficients."""

    @property
    def positions(self) -> Floats | None:
        """(k, dimensions) of its coefficients, where they have some."""

    @property
    def rank(self) -> int:
        """How many factors they are made of, where that is said; else 0."""

    @property
    def between(self) -> Floats | None:
        """(k, k) known covariance between them, up to its scale; None where there is none."""

    @property
    def is_related(self) -> bool:
        """Whether a covariance between its levels is known."""

    @property
    def parts(self) -> int:
        """How many groups of coefficients have a covariance of their own."""


def structure_of(term: Written) -> Structure:
    """The structure of a term's covariance; of Student's t, of its scale matrix."""
    each: Structure
    if term.rank:
        each = Loadings(term.rank)
    elif term.between is not None:
        each = Known(term.between, is_scaled=term.covariance == "propto")
    elif term.positions is None:
        each = STRUCTURES[(term.covariance, term.homogeneous)]
    elif term.covariance == "mat":
        each = Matern(term.positions, homogeneous=term.homogeneous)
    else:
        pattern = Decaying(term.covariance, term.positions, POWERS[term.covariance])
        each = Ranged(pattern, homogeneous=term.homogeneous)
    if term.parts == 1:
        return each
    own = len(term.columns) // term.parts
    if term.is_related and own == 1:
        return Shared()
    # Of variances alone, each their own, there are no blocks.
    is_bare = each.num_params(own) == own == each.num_sds(own)
    return STRUCTURES[("diag", False)] if is_bare else DirectSum(each, term.parts)
