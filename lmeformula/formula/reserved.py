"""Words with a fixed meaning: covariance structures, functions of logical values, other packages' syntax."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from lmeformula.formula.kinds import KINDS


@dataclass(frozen=True, slots=True)
class Structure:
    """A covariance structure of a random-effects term, as written name(x | g).

    Attributes:
      kind: the covariance's kind in the IR.
      homogeneous: its default; None where there is no such choice.
      takes_hom: the argument `hom =` chooses.
      is_over_time: its columns are the levels of one factor.
      has_positions: what stands before its bar are coordinates.
      most_coordinates: how many there may be; None for any number.
      takes_rank: the argument `d =` is its number of factors.
      takes_matrix: its second argument is the name of a matrix, which has its columns.
    """

    kind: str
    homogeneous: bool | None = None
    takes_hom: bool = False
    is_over_time: bool = False
    has_positions: bool = False
    most_coordinates: int | None = None
    takes_rank: bool = False
    takes_matrix: bool = False


STRUCTURES = MappingProxyType(
    {
        name: Structure(
            kind.name,
            homogeneous,
            takes_hom=name == kind.name and homogeneous is not None,
            is_over_time=kind.is_over_time,
            has_positions=kind.has_positions,
            most_coordinates=kind.most_coordinates,
            takes_rank=kind.takes_rank,
            takes_matrix=kind.takes_matrix,
        )
        for kind in KINDS.values()
        for name, homogeneous in kind.spellings.items()
    }
)

# In these, "|" is the logical or of two columns.
VALUE_FUNCTIONS = frozenset({"I", "ifelse", "xor", "factor", "bool"})

# What other packages write in place of a variable, and our way to write it.
RESERVED_FUNCTIONS = MappingProxyType(
    {
        **dict.fromkeys(("mo", "monotonic"), "Use the ordered factor itself, or C(o, contr.poly)."),
        **dict.fromkeys(
            ("me", "ME", "mi"), "Errors in variables cannot be modelled; use the column itself."
        ),
        "cs": "Category-specific effects cannot be modelled; a covariance structure is written cs(x | g).",
        **dict.fromkeys(
            ("te", "ti"),
            "Tensor products are written t2(x, z): their penalties are those of independent effects.",
        ),
        **dict.fromkeys(
            ("gp", "hsgp"),
            "Write s(x), or gau(0 + x | g) for a Gaussian process over the positions in each group.",
        ),
        **dict.fromkeys(("nlf", "lf", "nl"), "Non-linear formulas cannot be modelled."),
        **{
            name: f'Write {structure}(0 + factor(t) | g) in the formula of mu, and "~ 0" in that of sigma.'
            for name, structure in (("ar", "ar1"), ("cosy", "homcs"), ("unstr", "us"))
        },
        "car": 'Write ou(0 + t | g) in the formula of mu, with a number for t, and "~ 0" in that of sigma.',
        **dict.fromkeys(
            ("ma", "arma", "sar", "fcor"),
            "Errors that are so correlated cannot be modelled; ar1(0 + factor(t) | g) correlates over time.",
        ),
        "mmc": "Columns that differ between members cannot be modelled: (x | mm(g, h)) has one column x.",
        "fulldummy": "Write 0 + a before the bar for one coefficient per level: (0 + a | g).",
        **dict.fromkeys(("mvbind", "mvbrmsformula"), "Fit one response at a time."),
    }
)

# Structures of the mmrm package that have another name here.
OF_MMRM = MappingProxyType(
    {
        **{name: f"Write {name[:-1]}(0 + visit | g)" for name in ("csh", "toeph")},
        "ar1h": "Write hetar1(0 + visit | g)",
        **dict.fromkeys(("sp_exp", "sp_gau"), "Write exp(0 + x + y | g), or gau, of coordinates"),
        **dict.fromkeys(("ad", "adh"), "Write toep(0 + visit | g), or us where that is not enough"),
    }
)

# A call of one of these without a bar is a mistake; exp(x) and cs(x) mean something else without one.
ONLY_STRUCTURES = frozenset(STRUCTURES) - frozenset(RESERVED_FUNCTIONS) - {"exp"}

# What bambi writes around a response, and what brms allows after its bar; few of these can be fitted.
RESERVED_BAMBI = frozenset({"censored", "truncated", "constrained"})
BAMBI = frozenset({"p", "prop", "proportion", "weighted"}) | RESERVED_BAMBI
RESERVED_ADDITIONS = BAMBI | frozenset(
    {"cens", "trunc", "se", "rate", "thres", "subset", "dec"}
    | {"mi", "cat", "vint", "vreal", "index", "bhaz"}
)
