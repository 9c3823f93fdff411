"""The kinds of covariance that can be fitted: how each is written in a formula, said, and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of covariance between the k coefficients of a term.

    Attributes:
      name: in the formula's parts, in designs and in saved fits.
      spellings: name in a formula, name(x | g) -> whether all coefficients have one variance; None where there
        is no such choice. The kind's own name is one of them, and its argument `hom =` chooses.
      words: what `explain` says of it, after what varies.
      num_correlations: number of coefficients, two or more -> how many correlations are parameters.
      how_many: homogeneous -> its parameters, counted in terms of k.
      correlation: index of its symbols -> that of the rth and the sth coefficient in LaTeX; "" where the
        correlations have no pattern.
      is_over_time: whether its columns are the levels of one factor, in the order of time.
      has_positions: whether what stands before the bar are the coordinates of positions, and its columns are
        those that occur.
      most_coordinates: how many there may be; None for any number.
      least_distances: between positions, how many that differ tell its parameters apart.
      is_coded_by_margins: whether factors before the bar are coded as in `diag`, where each column has a
        variance of its own; the span of the columns is the same.
      takes_rank: whether a further argument, `d =`, says how many factors its coefficients are made of.
      takes_matrix: whether a further argument names the matrix that its covariance is, or is a multiple of, and
        its columns are the levels of one factor, which that has.
      counts: of k columns and rank d, where parameters are no variances and correlations; None of others.
    """

    name: str
    spellings: Mapping[str, bool | None]
    words: str
    num_correlations: Callable[[int], int]
    how_many: Callable[[bool], str]
    correlation: Callable[[str], str]
    is_over_time: bool = False
    has_positions: bool = False
    most_coordinates: int | None = None
    least_distances: int = 1
    is_coded_by_margins: bool = True
    takes_rank: bool = False
    takes_matrix: bool = False
    counts: Callable[[int, int], int] | None = None

    @property
    def is_of_levels(self) -> bool:
        """Whether its columns are the levels of one factor."""
        return self.is_over_time or self.takes_matrix

    @property
    def default(self) -> bool | None:
        """Whether it is homogeneous where nothing says otherwise."""
        return self.spellings[self.name]

    def num_params(self, homogeneous: bool, k: int, rank: int = 0) -> int:
        """How many parameters the covariance of k coefficients has."""
        if self.counts is not None:
            return self.counts(k, rank)
        return (1 if homogeneous else k) + (self.num_correlations(k) if k > 1 else 0)

    @property
    def choices(self) -> tuple[bool, ...]:
        """Of being homogeneous."""
        return (False,) if self.default is None else (False, True)


def counted(homogeneous: bool, num_correlations: int) -> str:
    """How many parameters there are: one variance or k, and some correlations.

    Example:
      >>> counted(True, 1), counted(False, 1), counted(False, 0)
      ('2', 'k + 1', 'k')
    """
    if homogeneous:
        return str(1 + num_correlations)
    return f"k + {num_correlations}" if num_correlations else "k"


def num_loadings(k: int, rank: int) -> int:
    """How many loadings of k coefficients on so many factors there are, of which the first have fewer.

    Example:
      >>> num_loadings(5, 2), num_loadings(1, 2)
      (9, 1)
    """
    rank = min(k, rank)
    return k * rank - rank * (rank - 1) // 2


UNSTRUCTURED = "us"
# Of rr(x | g): as in glmmTMB.
USUAL_RANK = 2
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            UNSTRUCTURED,
            {UNSTRUCTURED: None},
            "",
            lambda k: k * (k - 1) // 2,
            lambda homogeneous: "k(k + 1)/2",
            lambda index: "",
            is_coded_by_margins=False,
        ),
        Kind(
            "diag",
            {
                "diag": False,
                "zerocorr": False,  # MixedModels.jl
                "homdiag": True,  # glmmTMB's other names, here and below
            },
            ", independently of each other",
            lambda k: 0,
            lambda homogeneous: counted(homogeneous, 0),
            lambda index: "",
        ),
        Kind(
            "cs",
            {"cs": False, "homcs": True},
            ", all equally correlated",
            lambda k: 1,
            lambda homogeneous: counted(homogeneous, 1),
            lambda index: rf"\rho_{{{index}}}",
        ),
        Kind(
            "ar1",
            {"ar1": True, "hetar1": False},
            ", correlated the less the farther apart in time",
            lambda k: 1,
            lambda homogeneous: counted(homogeneous, 1),
            lambda index: rf"\rho_{{{index}}}^{{|r - s|}}",
            is_over_time=True,
        ),
        Kind(
            "toep",
            {"toep": False, "homtoep": True},
            ", with a correlation for each distance in time",
            lambda k: k - 1,
            lambda homogeneous: "k" if homogeneous else "2k - 1",
            lambda index: rf"\rho_{{{index},|r - s|}}",
            is_over_time=True,
        ),
        Kind(
            "ou",
            {"ou": True},
            ", correlated the less the longer the time between them",
            lambda k: 1,
            lambda homogeneous: counted(homogeneous, 1),
            lambda index: rf"\exp(-|t_r - t_s| / \lambda_{{{index}}})",
            has_positions=True,
            most_coordinates=1,
        ),
        Kind(
            "exp",
            {"exp": True},
            ", correlated the less the farther apart",
            lambda k: 1,
            lambda homogeneous: counted(homogeneous, 1),
            lambda index: rf"\exp(-d_{{rs}} / \lambda_{{{index}}})",
            has_positions=True,
        ),
        Kind(
            "gau",
            {"gau": True},
            ", correlated the less the farther apart, smoothly",
            lambda k: 1,
            lambda homogeneous: counted(homogeneous, 1),
            lambda index: rf"\exp(-(d_{{rs}} / \lambda_{{{index}}})^2)",
            has_positions=True,
        ),
        Kind(
            "mat",
            {"mat": True},
            ", correlated the less the farther apart, as smoothly as the data say",
            lambda k: 2,
            lambda homogeneous: counted(homogeneous, 2),
            lambda index: rf"M_{{\nu_{{{index}}}}}(d_{{rs}} / \lambda_{{{index}}})",
            has_positions=True,
            least_distances=2,
        ),
        Kind(
            "rr",
            {"rr": None},
            ", combinations of {rank} factors that vary",
            lambda k: 0,
            lambda homogeneous: "kd - d(d - 1)/2",
            lambda index: "",
            takes_rank=True,
            counts=num_loadings,
        ),
        Kind(
            "propto",
            {"propto": None},
            ", with {matrix} times a variance for their covariance",
            lambda k: 0,
            lambda homogeneous: "1",
            lambda index: "",
            takes_matrix=True,
            counts=lambda k, rank: 1,
        ),
        Kind(
            "equalto",
            {"equalto": None},
            ", with {matrix} for their covariance",
            lambda k: 0,
            lambda homogeneous: "0",
            lambda index: "",
            takes_matrix=True,
            counts=lambda k, rank: 0,
        ),
    )
}
