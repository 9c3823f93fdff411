"""Small designs made by hand, one for each shape of model."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from lmeformula.design.design import Design, ResponseBlock, TermBlock
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Column, FixedPart, Response, TermSum

N = 24
_RNG = np.random.default_rng(20240607)
_X = _RNG.normal(size=N)
_G = (np.arange(N) % 5).astype(np.int32)
_H = (np.arange(N) // 8).astype(np.int32)
# Casks within batches: two of each of the three batches.
_CASK = (np.arange(N) // 4).astype(np.int32)
FORMULA = Formula(Response(Column("y")), FixedPart(TermSum(True, ())), ())


def term(name, index, columns=("Intercept",), values=None, **kind):
    values = np.ones((N, 1)) if values is None else values
    levels = tuple(f"{name}{level}" for level in range(index.max() + 1))
    group = name.partition(".")[0]
    return TermBlock(name, columns, values, group, tuple(group.split(":")), levels, index, **kind)


def design(terms, *, names=("Intercept", "x"), response=None, offset=None, weights=None):
    y = ResponseBlock("y", "numeric", _RNG.normal(size=N)) if response is None else response
    X = np.column_stack([np.ones(N), _X, _X**2])[:, : len(names)]
    offsets = (np.zeros(N) if offset is None else offset,)
    return Design(FORMULA, y, X, names, tuple(terms), offsets, weights, np.arange(N))


def counts(name="y", **kind):
    return ResponseBlock(name, "numeric", _RNG.integers(0, 4, N).astype(float), **kind)


_INTERCEPTS = (term("g", _G), term("h", _H))
_SLOPES = np.column_stack([np.ones(N), _X])
_THREE = np.column_stack([np.ones(N), _X, _X**2])
_LOGICAL = ResponseBlock("y", "logical", (_X > 0.2).astype(float))

DESIGNS = MappingProxyType(
    {
        "crossed": design(_INTERCEPTS),
        "nested": design([term("batch", _H), term("batch:cask", _CASK)]),
        "slope": design([term("g", _G, ("Intercept", "x"), _SLOPES)]),
        "slope only": design([term("g", _G), term("g.1", _G, ("x",), _X[:, None])]),
        "three columns": design([term("g", _G, ("Intercept", "x", "z"), _THREE)]),
        "diagonal": design([term("g", _G, ("Intercept", "x"), _SLOPES, covariance="diag")]),
        "one variance": design(
            [term("g", _G, ("Intercept", "x"), _SLOPES, covariance="diag", homogeneous=True)]
        ),
        **{
            f"{kind}, {'one variance' if homogeneous else 'three variances'}": design(
                [
                    term(
                        "g",
                        _G,
                        ("Intercept", "x", "z"),
                        _THREE,
                        covariance=kind,
                        homogeneous=homogeneous,
                    )
                ]
            )
            for kind in ("cs", "ar1")
            for homogeneous in (False, True)
        },
        "offset": design(_INTERCEPTS, offset=_RNG.normal(size=N)),
        "weights": design(_INTERCEPTS, weights=_RNG.uniform(0.5, 2.0, N)),
        "no fixed effects": design(_INTERCEPTS, names=()),
        "no random effects": design([]),
        "logical": design(_INTERCEPTS, response=_LOGICAL),
        "counts": design(_INTERCEPTS, response=counts(), offset=_RNG.normal(size=N)),
        "trials": design(_INTERCEPTS, response=counts(trials=np.full(N, 5.0))),
        "cbind": design(
            [term("g", _G, ("Intercept", "x"), _SLOPES)],
            response=ResponseBlock(
                "cbind(s, f)", "matrix", _RNG.integers(1, 4, (N, 2)).astype(float)
            ),
        ),
        "proportions": design(
            _INTERCEPTS,
            response=ResponseBlock("s/n", "numeric", np.arange(N) % 5 / 4),
            weights=np.full(N, 4.0),
        ),
    }
)


@pytest.fixture(scope="session")
def designs():
    """Designs by name."""
    return DESIGNS


@pytest.fixture(scope="session")
def make_term():
    """Makes a TermBlock from a name and an index, of one intercept by default."""
    return term


@pytest.fixture(scope="session")
def make_design():
    """Makes a Design of 24 rows from its terms."""
    return design
