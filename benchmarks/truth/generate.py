"""Random models on random rows, with responses drawn from them: one case for each seed and index."""

from __future__ import annotations

import numpy as np
import pandas as pd

from truth import draws
from truth.matrices import is_number
from truth.rows import Rng, rows, with_gaps
from truth.spec import Case, Random, Spec

METHODS = ("gaussian", "laplace", "mcem", "quadrature")
FIXED = (
    (), ("x",), ("x", "a"), ("a",), ("a", "b", "a:b"), ("x", "a", "a:x"), ("a", "a:x"), ("x", "z"),
    ("a", "b"), ("a:b",), ("x", "z", "x:z"), ("a:x",), ("x", "z", "v"), ("a", "x:z"),
)  # fmt: skip
FAMILIES = (
    "bernoulli", "bernoulli(probit)", "bernoulli(cloglog)", "binomial", "poisson", "poisson", "nbinom2",
    "nbinom1", "gamma", "beta", "cumulative", "cumulative(probit)", "lognormal", "student",
    "inverse_gaussian", "zero_inflated_poisson", "hurdle_poisson", "beta_binomial",
)  # fmt: skip


G, GK, X = Random(True, (), "g"), Random(True, (), "g:k"), Random(False, ("x",), "g")
# Effects of which two at most hang together, the commonest first.
IN_TWOS = (
    *(5 * [(G,)]),
    *(3 * [(Random(True, ("x",), "g"),)]),
    *((Random(True, ("x",), "g", kind),) for kind in ("||", "diag", "homdiag", "cs")),
    *((Random(False, ("a",), "g", kind),) for kind in ("us", "cs", "diag", "homdiag", "ar1", "homcs")),
    *(2 * [(G, GK), (GK, G)]),
    (X,), (G, X), (X, G), (GK,), (X, Random(False, ("z",), "g")), (Random(False, ("x", "z"), "g"),),
    (Random(False, ("x",), "g:k"), G), (X, GK),
)  # fmt: skip


def case(method: str, seed: int, index: int) -> Case:
    """A random data set and a model for it.

    Args:
      method: "gaussian", "laplace", "mcem" or "quadrature".
      seed: of the campaign.
      index: which of its cases.
    """
    rng = np.random.default_rng([METHODS.index(method), seed, index])
    name = f"{method}:{seed}:{index}"
    if method == "gaussian":
        return _gaussian(rng, name)
    if method == "quadrature":
        return _integrated(rng, name)
    return _other(rng, name) if method == "laplace" else _sampled(rng, name)


def _gaussian(rng: Rng, name: str) -> Case:
    many = rng.uniform() < 0.06
    n = int(rng.integers(110, 200)) if many else int(rng.choice([12, 20, 30, 40, 60, 80]))
    data = rows(rng, n, many)
    spec = Spec(
        fixed=_fixed(rng, n),
        random=_random(rng, data, most=1 if many else 3),
        intercept=bool(rng.uniform() < 0.92),
        weights=bool(rng.uniform() < 0.2),
        offset=bool(rng.uniform() < 0.15),
        reml=bool(rng.uniform() < 0.45),
    )
    data, truth = draws.respond(rng, data, spec)
    spec = spec.but(sigma=truth.sigma if rng.uniform() < 0.05 else None)
    if rng.uniform() < 0.15:
        data = with_gaps(rng, data)
    return Case(name, data, spec, truth.words)


def _other(rng: Rng, name: str) -> Case:
    n = int(rng.choice([40, 60, 90, 120]))
    data = rows(rng, n)
    family = str(rng.choice(FAMILIES))
    spec = Spec(
        fixed=_fixed(rng, n // 2),
        random=_random(rng, data, most=2),
        family=family,
        offset=bool(rng.uniform() < 0.12),
        method="laplace",
        response="y | trials(t)" if "binomial" in family and "nbinom" not in family else "y",
    )
    data = data.assign(o=np.clip(data["o"], -2.0, 2.0))
    data, truth = draws.respond(rng, data, spec)
    if rng.uniform() < 0.1:
        data = with_gaps(rng, data)
    return Case(name, data, spec, truth.words)


# What is compiled for one shape serves all cases of it: rows, groups and family are few.
SAMPLED = (
    ("bernoulli", 60, 20, 1), ("poisson", 60, 20, 1), ("cumulative", 60, 20, 1),
    ("bernoulli", 80, 40, 1), ("gaussian", 60, 12, 1), ("nbinom2", 80, 20, 1),
    ("gaussian", 60, 12, 2), ("gamma", 60, 20, 1),
)  # fmt: skip


def _sampled(rng: Rng, name: str) -> Case:
    family, n, levels, terms = SAMPLED[int(name.split(":")[2]) % len(SAMPLED)]
    uneven = rng.uniform() < 0.5
    shares = rng.dirichlet(np.full(levels, 2.0))
    g = np.arange(n) % levels
    if uneven:
        g = np.append(np.arange(levels), rng.choice(levels, n - levels, p=shares))
    h = np.append(np.arange(6), rng.integers(0, 6, n - 6))
    data = pd.DataFrame({"x": rng.normal(size=n), "g": g, "h": h, "o": np.zeros(n)})
    random = (Random(True, (), "g"), Random(True, (), "h"))[:terms]
    spec = Spec(("x",), random, family, method="mcem")
    data, truth = draws.respond(rng, data, spec)
    return Case(name, data, spec, truth.words)


def _integrated(rng: Rng, name: str) -> Case:
    n = int(rng.choice([12, 20, 40, 60, 90]))
    data = rows(rng, n)
    # Of a factor of two levels quadrature takes both as effects.
    data["a"] = np.where(data["a"].astype(str) == data["a"].astype(str).iloc[0], "u", "v")
    family = str(rng.choice(FAMILIES))
    spec = Spec(
        fixed=_fixed(rng, n // 2),
        random=IN_TWOS[int(rng.integers(len(IN_TWOS)))],
        family=family,
        offset=bool(rng.uniform() < 0.12),
        method="quadrature",
        response="y | trials(t)" if "binomial" in family and "nbinom" not in family else "y",
    )
    data = data.assign(o=np.clip(data["o"], -2.0, 2.0))
    respond = draws.respond_oddly if rng.uniform() < 0.5 else draws.respond
    data, truth = respond(rng, data, spec)
    if rng.uniform() < 0.1:
        data = with_gaps(rng, data)
    return Case(name, data, spec, truth.words)


def _fixed(rng: Rng, n: int) -> tuple[str, ...]:
    most = 2 if n < 25 else 4
    while True:
        found = FIXED[int(rng.integers(len(FIXED)))]
        if len(found) <= most and not (n < 25 and any(":" in term for term in found)):
            return found


def _random(rng: Rng, data: pd.DataFrame, most: int) -> tuple[Random, ...]:
    """One to `most` terms, as different as the number of rows allows."""
    found = [_term(rng, data, "g")]
    others = [
        Random(True, (), "h"),
        Random(True, (), "g:k"),
        Random(True, (), "g:h"),
        _term(rng, data, "h"),
    ]
    while len(found) < most and rng.uniform() < 0.3:
        found.append(others[int(rng.integers(len(others)))])
    kept = dict.fromkeys(found)
    return tuple(kept) if rng.uniform() < 0.5 else tuple(reversed(kept))


def _term(rng: Rng, data: pd.DataFrame, group: str) -> Random:
    kind = rng.uniform()
    small = len(data) < 25
    if kind < 0.4 or (small and kind < 0.6):
        return Random(True, (), group)
    if kind < 0.6 or small:
        return Random(True, ("x",), group)
    if kind < 0.7:
        return Random(True, ("x",), group, "||")
    if kind < 0.74:
        return Random(False, ("x",), group)
    if kind < 0.79 and len(data) >= 40:
        return Random(True, ("x", "z"), group, str(rng.choice(["us", "||", "diag"])))
    if kind < 0.84:
        return Random(True, ("x",), group, str(rng.choice(["diag", "homdiag", "cs"])))
    if _size(data) > 3 or len(data) < 40:
        return Random(True, (), group)
    return Random(
        bool(rng.uniform() < 0.4), ("a",), group,
        str(rng.choice(["us", "us", "diag", "cs", "homcs", "ar1", "homdiag"])),
    )  # fmt: skip


def _size(data: pd.DataFrame) -> int:
    assert not is_number(data["a"])
    return int(data["a"].nunique())
