"""The table of cases: data, model, who fits it, how it is timed, and what the answer is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from comparison.simulated import REGIONS, SIZES

ROOT = Path(__file__).parents[2]
SIMULATED = ROOT / "benchmarks" / "comparison" / "references.json"
REFERENCES = ROOT / "tests" / "reference" / "reference_fits.json"

# How a fit is timed. "warm": data in memory, the first fit of each process not counted. "first": the first fit
# of a fresh process, with what it imports and compiles; "first, cached": the same with a compilation cache that
# an earlier process has filled. "process": a whole process, from the interpreter's start to printed estimates.
MODES = ("warm", "first", "first, cached", "process")


class Truth(NamedTuple):
    """What a right answer is.

    Attributes:
      source: where it is from.
      loglik: on R's constants, or None where none is known.
      sds: standard deviation of each random-effects column, by "group" or "group:column".
      tolerance: of a standard deviation, relative; of the log-likelihood it is LOGLIK_TOLERANCE.
    """

    source: str
    loglik: float | None
    sds: dict[str, float]
    tolerance: float = 0.005


class Entrant(NamedTuple):
    """A tool in a case.

    Attributes:
      tool: a file of benchmarks/peers, without its ending.
      method: handed to it.
      slow: takes more than half a minute: run once, and only where slow ones are asked for.
    """

    tool: str
    method: str = ""
    slow: bool = False


class Case(NamedTuple):
    """One model on one data set, timed in one way.

    Attributes:
      name: what to ask for on the command line.
      title: what it is called in the report.
      data: a shipped data set.
      formula: as lme4 writes it.
      kind: "gaussian", "bernoulli", "binomial", "poisson" or "cumulative".
      factors: columns that hold labels.
      mode: how it is timed; one of MODES.
      truth: the right answer.
      entrants: who fits it; the first is this library.
      goal: what the ratio of its time to the best peer's should reach, or None.
    """

    name: str
    title: str
    data: str
    formula: str
    kind: str
    factors: tuple[str, ...]
    mode: str
    truth: Truth
    entrants: tuple[Entrant, ...]
    goal: float | None = None


def reference(id: str) -> Truth:
    """The right answer by a fit in the tests' reference file."""
    lines = REFERENCES.read_text(encoding="utf-8")
    record = next(r for r in json.loads(lines) if r["id"] == id)
    sds = {}
    for part in record["varcorr"]:
        for column, sd in zip(part["names"], part["sd"], strict=True):
            bare = part["names"] == ["(Intercept)"]
            sds[part["group"] if bare else f"{part['group']}:{column}"] = sd
    return Truth(record["source"], record["logLik"], sds)


def simulated(kind: str, num_rows: int, num_groups: int, *entrants: Entrant) -> Case:
    """A case on a data set of `simulated.py`."""
    data = f"{kind}-{num_rows}-{num_groups}"
    known = json.loads(SIMULATED.read_text(encoding="utf-8"))[data]
    title = f"{num_rows:,} rows of {num_groups} groups, {kind}"
    truth = Truth(known["source"], None, {"g": known["sd"]})
    return Case(data, title, data, "y ~ x + (1 | g)", kind, ("g",), "warm", truth, entrants, None)


RATINGS = "service + (1 | s) + (1 | d) + (1 | dept)"
LABELS = ("s", "d", "dept")
# clmm's own fit took twenty minutes; kept here, and made again with the slow peers.
CLMM = Truth("ordinal::clmm 2022.11-16", -110474.05, {"s": 0.4996, "d": 0.7826, "dept": 0.1179})
# Beyond the approximation no other tool goes; by long chains of ours with other seeds.
BINARY = Truth("an independent prototype of the method in NumPy", None, {"s": 0.4841}, 0.005)
QUADRATURE = reference("cbpp-agq25")._replace(loglik=None)  # lme4 leaves constants out of it there
ORDINAL = Truth("an independent prototype of the method in NumPy", None, {"s": 0.5022}, 0.005)


def insteval(
    name: str, title: str, kind: str, mode: str, truth: Truth, goal: float, *entrants: Entrant
) -> Case:
    """A case on the lecture ratings."""
    response = "good" if kind == "bernoulli" else "y"
    formula = f"{response} ~ {RATINGS}"
    return Case(name, title, "InstEval", formula, kind, LABELS, mode, truth, entrants, goal)


def all_cases() -> tuple[Case, ...]:
    """Every case, in the report's order."""
    good = reference("insteval-good-laplace")
    gaussian = reference("insteval-ml")
    gpboost = Entrant("gpboost")
    clmm = Entrant("ordinal", slow=True)
    sleep = ("sleepstudy", "Reaction ~ Days + (Days | Subject)", "gaussian", ("Subject",))
    cbpp = (
        "cbpp",
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        "binomial",
        ("period", "herd"),
    )
    verbagg = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"
    ticks = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)"
    nodes = (Entrant("lmeformula", "auto"), Entrant("lme4", "quadrature"), Entrant("glmmTMB"))
    small = [simulated(k, *size, *nodes) for k in ("bernoulli", "poisson") for size in SIZES]
    folds = simulated("bernoulli", *REGIONS, Entrant("lmeformula", "cross-validation"))
    others = (Entrant("glmm"), Entrant("mixedlm"), Entrant("lme4"), Entrant("glmmTMB"))
    return (
        insteval(
            "gaussian", "InstEval, Gaussian ML", "gaussian", "warm", gaussian, 0.5,
            Entrant("lmeformula", "exact"), Entrant("glmm"), gpboost, Entrant("mixedlm"),
            Entrant("lme4"), Entrant("glmmTMB", slow=True),
        ),
        insteval(
            "gaussian-process", "InstEval, Gaussian ML, whole process", "gaussian", "process",
            gaussian, 1.5, Entrant("lmeformula", "exact"), Entrant("glmm"),
        ),
        insteval(
            "tutorial", "InstEval, Gaussian, beside the tutorial's loop", "gaussian", "first",
            gaussian, 1 / 30, Entrant("lmeformula", "exact"), Entrant("tutorial", slow=True),
        ),
        insteval(
            "binary-laplace", "InstEval, binary, Laplace", "bernoulli", "warm", good, 0.4,
            Entrant("lmeformula", "laplace"), gpboost, Entrant("glmm"),
            Entrant("glmmTMB", slow=True), Entrant("mixedlm", slow=True), Entrant("lme4", slow=True),
        ),
        insteval(
            "binary-mcem", "InstEval, binary, mcem beside Laplace", "bernoulli", "first", BINARY,
            1.0, Entrant("lmeformula", "mcem"), gpboost,
        ),
        insteval(
            "binary-mcem-cached", "InstEval, binary, mcem beside Laplace", "bernoulli",
            "first, cached", BINARY, 0.6, Entrant("lmeformula", "mcem"), gpboost,
        ),
        insteval(
            "ordinal-laplace", "InstEval, five ordered categories, Laplace", "cumulative", "first",
            CLMM, 1 / 300, Entrant("lmeformula", "laplace"), clmm,
        ),
        insteval(
            "ordinal-mcem", "InstEval, five ordered categories, mcem beside Laplace", "cumulative",
            "first", ORDINAL, 1 / 150, Entrant("lmeformula", "mcem"), clmm,
        ),
        insteval(
            "ordinal-mcem-cached", "InstEval, five ordered categories, mcem beside Laplace",
            "cumulative", "first, cached", ORDINAL, 1 / 150, Entrant("lmeformula", "mcem"), clmm,
        ),
        Case(
            "sleepstudy", "sleepstudy, correlated slopes", *sleep, "warm",
            reference("sleepstudy-slope-ml"), (Entrant("lmeformula", "exact"), *others), 20.0,
        ),
        Case(
            "sleepstudy-refit", "sleepstudy, a new response", *sleep, "warm",
            reference("sleepstudy-slope-ml"),
            (Entrant("lmeformula", "refit"), Entrant("glmm"), Entrant("lme4", "refit")), 3.0,
        ),
        Case(
            "sleepstudy-bootstrap", "sleepstudy, 1,000 refits of a parametric bootstrap", *sleep, "warm",
            reference("sleepstudy-slope-ml"),
            (Entrant("lmeformula", "bootstrap"), Entrant("lme4", "bootstrap", slow=True)), 1 / 20,
        ),
        Case(
            "cbpp", "cbpp, binomial, quadrature", *cbpp, "warm", QUADRATURE,
            (Entrant("lmeformula", "quadrature"), Entrant("lme4", "quadrature")), None,
        ),
        Case(
            "cbpp-bootstrap", "cbpp, 1,000 refits of a parametric bootstrap", *cbpp, "warm",
            reference("cbpp-laplace"),
            (Entrant("lmeformula", "bootstrap"), Entrant("lme4", "bootstrap", slow=True)), 1 / 20,
        ),
        Case(
            "verbagg", "VerbAgg, binary, Laplace", "VerbAgg", verbagg, "bernoulli",
            ("id", "item", "Gender", "btype", "situ", "r2"), "warm", reference("verbagg-laplace"),
            (Entrant("lmeformula", "laplace"), *others), None,
        ),
        *small,
        folds._replace(title=f"{folds.title}: cross-validation by group"),
        Case(
            "grouseticks", "grouseticks, Poisson, Laplace", "grouseticks", ticks, "poisson",
            ("YEAR", "BROOD", "LOCATION"), "warm", reference("grouseticks-laplace"),
            (Entrant("lmeformula", "laplace"), *others), None,
        ),
    )  # fmt: skip
