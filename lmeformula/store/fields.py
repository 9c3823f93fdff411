"""The fields of a saved fit: one line each. A test holds these tables to the records that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.certificate import Certificate, Claim
from lmeformula.covariance.prior import PRIORS
from lmeformula.design.design import Design, ResponseBlock, Role, TermBlock
from lmeformula.drawn import Draws, Effort, Mixing, Stats, Surrogate
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Iteration
from lmeformula.estimation.dispatch import METHODS
from lmeformula.family.bounded import Bounded
from lmeformula.family.own import Ascending, Own, Positive
from lmeformula.family.thresholds import Patterned
from lmeformula.family.user_family import Bijected
from lmeformula.fit import FittedModel, Information
from lmeformula.formula.formula import Formula
from lmeformula.history import Ascent, LogLik, Probes, Resumed, Sampling, Seconds, Watched
from lmeformula.model.params import Params
from lmeformula.store.archive import Json
from lmeformula.store.codec import (
    FLAG,
    TEXT,
    Codec,
    Coded,
    Reader,
    Writer,
    choice,
    maybe,
    member,
    real,
    whole,
)
from lmeformula.store.containers import Array, Each, Levels, Record, Rows, Stacked, record
from lmeformula.store.formulas import FORMULA
from lmeformula.store.recipe import Functions, recipe_codec
from lmeformula.store.relations import RELATION

# Letters are lengths that must agree: n rows, p fixed effects, d parameters, m draws, w watched effects;
# k coefficients and l levels of one term; f parameters of the family's own, v of its natural values.

RESPONSE = record(
    ResponseBlock,
    kind=choice(("numeric", "logical", "categorical", "ordered", "matrix")),
    values=Rows(("n",)),
    levels=Levels(),
    trials=maybe(Rows(("n",))),
)

TERM = Record(
    TermBlock,
    {
        "name": TEXT,
        "columns": Each(TEXT, "k"),
        "values": Rows(("n", "k")),
        "group": TEXT,
        "factors": Each(TEXT),
        "levels": Levels(),
        "index": Rows(("n",), "<i4", more=1),
        "covariance": TEXT,
        "homogeneous": FLAG,
        "block": TEXT,
        "distribution": Coded(
            lambda value, out: value.name,
            lambda found, source: PRIORS[choice(tuple(PRIORS)).read(found, source)],
        ),
        "parts": whole(1),
        "positions": maybe(Array(("", ""))),
        "part_of": maybe(Array(("",), "<i4")),
        "role": choice(get_args(Role)),
        "smooth": TEXT,
        "relation": maybe(RELATION),
        "shares": maybe(Rows(("n", ""))),
        "rank": whole(),
        "known": maybe(RELATION),
        "between": maybe(Array(("k", "k"))),
    },
    own=("k",),
    renamed={"distribution": "prior"},
    later={
        "parts": 1,
        "positions": None,
        "part_of": None,
        "role": "group",
        "smooth": "",
        "relation": None,
        "shares": None,
        "rank": 0,
        "known": None,
        "between": None,
    },
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
        if not fit.model.family.is_normal:
            return cls(beta, covariances, None, own, freedom)
        return cls(beta, covariances, fit.params.residual_sd, own[1:], freedom)

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
        "sigma": maybe(real()),
        "own": Array(("f",)),
        "freedom": Each(real()),
    },
)


def _stats(count: str) -> Record:
    return Record(Stats, dict.fromkeys(Stats._fields, Array(("c", count))))


# c chains of m draws, after w of warm-up.
_DRAWS = record(
    Draws,
    ("c", "m", "w"),
    psi=Array(("c", "m", "d")),
    values=Array(("c", "m", "d")),
    effects=Each(Array(("c", "m", "", "")), "terms"),
    stats=_stats("m"),
    warmup_values=Array(("c", "w", "d")),
    warmup_stats=_stats("w"),
    mixing=Record(Mixing, dict.fromkeys(Mixing._fields, Array(("d",)))),
    effects_mixing=Array(("two",)),
    bfmi=Array(("c",)),
    effort=Record(Effort, record(Effort).fields, later={"surrogate": "", "importance": False}),
    surrogate=maybe(record(Surrogate, log_ratios=Array(("c", "m")))),
)
DRAWS = replace(_DRAWS, later={"surrogate": None})

FIT: Mapping[str, Codec] = {
    "method": choice(tuple(method for method in METHODS if method != "auto")),
    "reml": FLAG,
    "params": PARAMS,
    "param_names": Each(TEXT, "d"),
    "param_values": Array(("d",)),
    "param_stderr": Array(("d",)),
    "param_vcov": Array(("d", "d")),
    "param_mc_error": Array(("d",)),
    "fixed_vcov": Array(("p", "p")),
    "modes": Each(Array(("", "")), "terms"),
    "mode_cov": Each(Array(("", "", "")), "terms"),
    "outcome": member(Outcome),
    "singular": FLAG,
    "loglik": Record(
        LogLik,
        record(LogLik, probes=maybe(record(Probes, each=Each(real())))).fields,
        later={"probes": None},
    ),
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
    "watched": maybe(
        record(Watched, names=Each(Each(TEXT, "three"), "w"), draws=Array(("m", "w")))
    ),
    "seconds": record(Seconds),
    "ascent": maybe(record(Ascent)),
    "sampling": maybe(record(Sampling, reduction=Array(("d",)), last_step=Array(("d",)))),
    "laplace_values": maybe(Array(("d",))),
    "solver": choice(("direct", "iterative")),
    "information": choice(get_args(Information)),
    "param_stderr_error": maybe(Array(("d",))),
    "certificate": maybe(record(Certificate, claims=Each(record(Claim)))),
    "resumed": maybe(record(Resumed)),
    "draws": maybe(DRAWS),
}
# What fits that were saved by earlier versions lack: it is read as None.
LATER = ("certificate", "resumed", "draws")

_SCALES: dict[str, Any] = {"positive": Positive, "ascending": Ascending}
# Of a family of the user's, which is given again.
GIVEN = "given"
_BOUNDS = Each(Each(real()), "f")

_PATTERN = record(Patterned, pattern=choice(("flexible", "symmetric", "equidistant")))


def _write_scale(value: Any, out: Writer) -> Json:
    if isinstance(value, Patterned):
        return _PATTERN.write(value, out)
    if isinstance(value, Bounded):
        return _BOUNDS.write(value.bounds, out)
    if isinstance(value, Bijected):
        return GIVEN
    return next(name for name, kind in _SCALES.items() if type(value) is kind)


def _read_scale(found: Json, source: Reader) -> Any:
    """Found by name, or made of the bounds or the pattern; None where it comes with the family."""
    if isinstance(found, dict):
        return _PATTERN.read(found, source)
    if found == GIVEN:
        return None
    if not isinstance(found, list):
        return _SCALES[choice(tuple(_SCALES)).read(found, source)]()
    bounds = _BOUNDS.read(found, source)
    # Without a lower bound there is no upper one.
    if not all(
        len(ends) == 2 and ends[0] < ends[1] and (ends[0] > -np.inf or ends[1] == np.inf)
        for ends in bounds
    ):
        source.refuse("these are no bounds of parameters")
    return Bounded(bounds)


OWN = record(
    Own,
    names=Each(TEXT, "f"),
    start=Array(("v",)),
    scale=Coded(_write_scale, _read_scale),
    report=maybe(Array(("f", "v"))),
)


def _response(kind: object) -> Record:
    """The fields of a response, whose values are one number or several for each row."""
    if kind != "matrix":
        return RESPONSE
    return Record(ResponseBlock, {**RESPONSE.fields, "values": Rows(("n", ""))})


def _read_response(found: Json, source: Reader) -> Any:
    return _response(found.get("kind") if isinstance(found, dict) else None).read(found, source)


def design_codec(formula: Formula, functions: Functions) -> Record:
    """The fields of a design with this formula."""
    fields: dict[str, Codec] = {
        "formula": FORMULA,
        "names": Each(TEXT, "p"),
        "X": Rows(("n", "p")),
        "response": maybe(
            Coded(lambda value, out: _response(value.kind).write(value, out), _read_response)
        ),
        "terms": Each(TERM, "terms"),
        "offset": Rows(("n",)),
        "weights": maybe(Rows(("n",))),
        "rows": Rows(("n",), "<i8"),
        "num_missing": whole(),
        "dropped": Each(TEXT),
        "reserved": Each(TEXT),
        "recipe": maybe(recipe_codec(formula, functions)),
        "frequency": maybe(Rows(("n",))),
    }
    return Record(of_one, fields, later={"frequency": None})


def of_one(offset: Floats, **others: Any) -> Design:
    """The design of one linear predictor."""
    return Design(offsets=(offset,), **others)
