"""The fields of a saved fit: one line each. A test holds these tables to the records that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.certificate import Certificate, Claim
from lmeformula.design.design import Design, ResponseBlock, TermBlock
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Iteration
from lmeformula.estimation.dispatch import METHODS
from lmeformula.family.bijected import Bijected
from lmeformula.family.bounded import Bounded
from lmeformula.family.own import Ascending, Own, Positive
from lmeformula.family.thresholds import Patterned
from lmeformula.fit import FittedModel, Information
from lmeformula.formula.formula import Formula
from lmeformula.history import Ascent, LogLik, Sampling, Seconds, Watched
from lmeformula.model.params import Params
from lmeformula.store.archive import Json
from lmeformula.store.codec import (
    Choice,
    Codec,
    Flag,
    Maybe,
    Member,
    Reader,
    Real,
    Text,
    Whole,
    Writer,
)
from lmeformula.store.containers import Array, Each, Levels, Record, Rows, Stacked
from lmeformula.store.formulas import FormulaCodec
from lmeformula.store.recipe import Functions, recipe_codec

# Letters are lengths that must agree: n rows, p fixed effects, d parameters, m draws, w watched effects;
# k coefficients and l levels of one term; f parameters of the family's own, v of its natural values.

RESPONSE = Record(
    ResponseBlock,
    {
        "name": Text(),
        "kind": Choice(("numeric", "logical", "categorical", "ordered", "matrix")),
        "values": Rows(("n",)),
        "levels": Levels(),
        "trials": Maybe(Rows(("n",))),
    },
)

TERM = Record(
    TermBlock,
    {
        "name": Text(),
        "columns": Each(Text(), "k"),
        "values": Rows(("n", "k")),
        "group": Text(),
        "factors": Each(Text()),
        "levels": Levels(),
        "index": Rows(("n",), "<i4"),
        "covariance": Text(),
        "homogeneous": Flag(),
        "block": Text(),
        "distribution": Choice(("gaussian", "student")),
    },
    own=("k",),
)


class Kept(NamedTuple):
    """Parameters as a file has them: a residual standard deviation stands by itself, not among the own ones."""

    beta: Floats
    covariances: tuple[Floats, ...]
    sigma: float | None
    own: Floats
    freedom: tuple[float, ...]

    @classmethod
    def of(cls, fit: FittedModel) -> Kept:
        """Those of a fit."""
        beta, covariances, own, freedom = fit.params
        return cls(beta, covariances, fit.sigma, own if fit.sigma is None else own[1:], freedom)

    @property
    def params(self) -> Params:
        """The parameters of the fit."""
        own = self.own if self.sigma is None else np.append(self.sigma, self.own)
        return Params(self.beta, self.covariances, own, self.freedom)


PARAMS = Record(
    Kept,
    {
        "beta": Array(("p",)),
        "covariances": Each(Array(("", "")), "terms"),
        "sigma": Maybe(Real()),
        "own": Array(("f",)),
        "freedom": Each(Real()),
    },
)

FIT: Mapping[str, Codec] = {
    "method": Choice(tuple(method for method in METHODS if method != "auto")),
    "reml": Flag(),
    "params": PARAMS,
    "param_names": Each(Text(), "d"),
    "param_values": Array(("d",)),
    "param_stderr": Array(("d",)),
    "param_vcov": Array(("d", "d")),
    "param_mc_error": Array(("d",)),
    "fixed_vcov": Array(("p", "p")),
    "modes": Each(Array(("", "")), "terms"),
    "mode_cov": Each(Array(("", "", "")), "terms"),
    "outcome": Member(Outcome),
    "singular": Flag(),
    "loglik": Record(LogLik, {"value": Real(), "mc_error": Real(), "df": Whole(), "nobs": Whole()}),
    "iterations": Stacked(
        Iteration,
        {
            "number": Array((), "<i8"),
            "estimates": Array(("d",)),
            "largest_step": Array(()),
            "largest_error": Array(()),
            "num_draws": Array((), "<i8"),
            "acceptance": Array(()),
            "seconds": Array(()),
        },
    ),
    "watched": Maybe(
        Record(Watched, {"names": Each(Each(Text(), "three"), "w"), "draws": Array(("m", "w"))})
    ),
    "seconds": Record(Seconds, dict.fromkeys(Seconds._fields, Real())),
    "ascent": Maybe(Record(Ascent, {"num_evaluations": Whole(), "gain": Real()})),
    "sampling": Maybe(
        Record(
            Sampling,
            {
                "num_chains": Whole(),
                "num_draws": Whole(),
                "acceptance": Real(),
                "divergences": Whole(),
                "rhat": Real(),
                "effective": Real(),
                "reduction": Array(("d",)),
                "last_step": Array(("d",)),
            },
        )
    ),
    "laplace_values": Maybe(Array(("d",))),
    "solver": Choice(("direct", "iterative")),
    "information": Choice(get_args(Information)),
    "param_stderr_error": Maybe(Array(("d",))),
    "certificate": Maybe(
        Record(
            Certificate,
            {
                "claims": Each(
                    Record(
                        Claim,
                        {
                            "name": Text(),
                            "holds": Maybe(Flag()),
                            "figure": Real(),
                            "bound": Real(),
                            "names": Each(Text()),
                            "words": Text(),
                        },
                    )
                )
            },
        )
    ),
}
# What fits that were saved by earlier versions lack: it is read as None.
LATER = ("certificate",)

_SCALES: dict[str, Any] = {"positive": Positive, "ascending": Ascending}
# Of a family of the user's, which is given again.
GIVEN = "given"
_BOUNDS = Each(Each(Real()), "f")

_PATTERN = Record(
    Patterned,
    {
        "pattern": Choice(("flexible", "symmetric", "equidistant")),
        "count": Whole(),
        "is_ordered": Flag(),
    },
)


class _Scale:
    """The scale of the family's own parameters: its name, bounds, or pattern of thresholds."""

    def write(self, value: Any, out: Writer) -> Json:
        """Its name, the bounds, or the pattern."""
        if isinstance(value, Patterned):
            return _PATTERN.write(value, out)
        if isinstance(value, Bounded):
            return _BOUNDS.write(value.bounds, out)
        if isinstance(value, Bijected):
            return GIVEN
        return next(name for name, kind in _SCALES.items() if type(value) is kind)

    def read(self, found: Json, source: Reader) -> Any:
        """Found by name, or made of the bounds or the pattern; None where it comes with the family."""
        if isinstance(found, dict):
            return _PATTERN.read(found, source)
        if found == GIVEN:
            return None
        if not isinstance(found, list):
            return _SCALES[Choice(tuple(_SCALES)).read(found, source)]()
        bounds = _BOUNDS.read(found, source)
        if not all(len(ends) == 2 and _are_bounds(*ends) for ends in bounds):
            source.refuse("these are no bounds of parameters")
        return Bounded(bounds)


def _are_bounds(low: float, high: float) -> bool:
    """Whether numbers can lie between: without a lower bound there is no upper one."""
    return low < high and (low > -np.inf or high == np.inf)


OWN = Record(
    Own,
    {
        "variable": Text(),
        "names": Each(Text(), "f"),
        "start": Array(("v",)),
        "scale": _Scale(),
        "values": Each(Text()),
        "report": Maybe(Array(("f", "v"))),
    },
)


class _Response:
    """The response, whose values are one number or several for each row."""

    def write(self, value: ResponseBlock, out: Writer) -> Json:
        """By name."""
        return self._record(value.kind).write(value, out)

    def read(self, found: Json, source: Reader) -> Any:
        """All of it."""
        kind = found.get("kind") if isinstance(found, dict) else None
        return self._record(kind).read(found, source)

    def _record(self, kind: object) -> Record:
        if kind != "matrix":
            return RESPONSE
        return Record(ResponseBlock, {**RESPONSE.fields, "values": Rows(("n", ""))})


def design_codec(formula: Formula, functions: Functions) -> Record:
    """The fields of a design with this formula."""
    fields: dict[str, Codec] = {
        "formula": FormulaCodec(),
        "names": Each(Text(), "p"),
        "X": Rows(("n", "p")),
        "response": Maybe(_Response()),
        "terms": Each(TERM, "terms"),
        "offset": Rows(("n",)),
        "weights": Maybe(Rows(("n",))),
        "rows": Rows(("n",), "<i8"),
        "num_missing": Whole(),
        "dropped": Each(Text()),
        "reserved": Each(Text()),
        "recipe": Maybe(recipe_codec(formula, functions)),
    }
    return Record(of_one, fields)


def of_one(offset: Floats, **others: Any) -> Design:
    """The design of one linear predictor."""
    return Design(offsets=(offset,), **others)
