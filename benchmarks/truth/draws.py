"""Responses drawn from a model with effects of its own: sizes at random, some of them zero, some huge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from truth.matrices import is_number, spanning
from truth.rows import Rng
from truth.spec import Random, Spec

THRESHOLDS = np.array([-1.0, 0.3, 1.6])


class Truth(NamedTuple):
    """The residual sd, and in words what was drawn."""

    sigma: float
    words: str


def respond(rng: Rng, data: pd.DataFrame, spec: Spec) -> tuple[pd.DataFrame, Truth]:
    """The rows with a response y (and trials t) drawn from a model like `spec`."""
    plain = spec.family.split("(")[0]
    X = spanning(data, spec)
    length = np.sqrt((X**2).mean(axis=0))
    X = X / np.where(length > 0, length, 1.0)
    fixed = X @ (rng.normal(size=X.shape[1]) * rng.choice([0.0, 0.5, 1.0]))
    sds = [float(rng.choice([0.0, 0.2, 1.0, 3.0], p=[0.25, 0.25, 0.35, 0.15])) for _ in spec.random]
    if plain != "gaussian":
        sds = [min(sd, 1.5) for sd in sds]
        fixed = np.clip(fixed, -2.0, 2.0) + float(rng.choice([-2.0, 0.0, 0.5]))
    effects = np.zeros(len(data))
    for sd, term in zip(sds, spec.random, strict=True):
        effects += _effects(rng, data, term, sd)
    words = f"sds {sds}"
    if plain == "gaussian":
        sigma = float(rng.choice([0.1, 1.0, 1.0]))
        weights = data["w"] if spec.weights else 1.0
        y = fixed + effects + sigma / np.sqrt(weights) * rng.normal(size=len(data))
        unit = float(rng.choice([1.0, 1e-4, 1e4], p=[0.9, 0.05, 0.05]))
        shift = float(rng.choice([0.0, 1e4], p=[0.9, 0.1])) if spec.intercept else 0.0
        y = unit * (y + shift)
        if spec.offset:
            y = y + data["o"]
        return data.assign(y=y), Truth(sigma * unit, f"{words}, sigma {sigma * unit:g}")
    eta = np.clip(fixed + effects, -6.0, 6.0) + (data["o"].to_numpy() if spec.offset else 0.0)
    return _others(rng, data, spec.family, plain, eta), Truth(1.0, words)


def respond_oddly(rng: Rng, data: pd.DataFrame, spec: Spec) -> tuple[pd.DataFrame, Truth]:
    """The same with sizes of all orders, and some responses that are alike, rare, or told by a column."""
    X = spanning(data, spec)
    length = np.sqrt((X**2).mean(axis=0))
    X = X / np.where(length > 0, length, 1.0)
    eta = X @ (rng.normal(size=X.shape[1]) * rng.choice([0.0, 0.5, 1.0, 3.0]))
    eta = np.clip(eta, -4.0, 4.0) + float(rng.choice([-4.0, 0.0, 0.5, 5.0], p=[0.2, 0.4, 0.3, 0.1]))
    sds = [
        float(rng.choice([0.0, 0.05, 0.5, 1.0, 3.0, 10.0], p=[0.2, 0.1, 0.2, 0.25, 0.15, 0.1]))
        for _ in spec.random
    ]
    for sd, term in zip(sds, spec.random, strict=True):
        eta = eta + _effects(rng, data, term, sd)
    eta = np.clip(eta, -12.0, 12.0) + (data["o"].to_numpy() if spec.offset else 0.0)
    plain = spec.family.split("(")[0]
    data = _others(rng, data, spec.family, plain, eta, highest=9.0)
    words, odd = f"sds {sds}", rng.uniform()
    if odd < 0.03:
        data, words = data.assign(y=data["y"].iloc[0]), f"{words}, all alike"
    elif odd < 0.08 and plain in ("bernoulli", "binomial", "poisson", "cumulative"):
        top = data["t"] if "t" in data else 1 + (plain == "cumulative")
        told = data["x"] > float(data["x"].median())
        data, words = data.assign(y=np.where(told, top, plain == "cumulative")), f"{words}, told"
    elif odd < 0.12 and plain in ("bernoulli", "poisson"):
        rare = rng.uniform(size=len(data)) < 2.0 / len(data)
        data, words = data.assign(y=np.where(rare, data["y"], 0)), f"{words}, rare"
    return data, Truth(1.0, words)


def _effects(rng: Rng, data: pd.DataFrame, term: Random, sd: float) -> np.ndarray:
    label = data[term.group.split(":")].astype(str).agg("\x00".join, axis=1)
    index, levels = pd.factorize(label)
    columns = [np.ones(len(data))] if term.intercept else []
    for name in term.columns:
        values = data[name]
        if is_number(values):
            columns.append(values.to_numpy(float) / max(float(np.sqrt((values**2).mean())), 1e-12))
        else:
            columns += [
                (values.astype(str) == level).to_numpy(float)
                for level in sorted(set(values.astype(str)))
            ]
    k = len(columns)
    b = rng.normal(size=(len(levels), k))
    if rng.uniform() < 0.2:  # near-singular: all coefficients move together
        b = b[:, :1] + 0.05 * b
    return sd * (np.column_stack(columns) * b[index]).sum(axis=1)


def _others(
    rng: Rng,
    data: pd.DataFrame,
    family: str,
    plain: str,
    eta: np.ndarray,
    highest: float = 4.0,
) -> pd.DataFrame:
    n, shape = len(data), float(rng.choice([0.7, 2.0, 20.0]))
    mu, chance = np.exp(np.minimum(eta, highest)), expit(eta)
    if "probit" in family:
        chance = norm.cdf(eta)
    if "cloglog" in family:
        chance = -np.expm1(-np.exp(np.minimum(eta, 3.0)))
    if plain == "bernoulli":
        return data.assign(y=(rng.uniform(size=n) < chance).astype(float))
    if plain in ("binomial", "beta_binomial"):
        t = rng.integers(1, 12, n)
        if plain == "beta_binomial":
            chance = rng.beta(
                np.maximum(chance * shape, 1e-3), np.maximum((1 - chance) * shape, 1e-3)
            )
        return data.assign(y=rng.binomial(t, chance), t=t)
    if plain == "cumulative":
        latent = eta + (rng.normal(size=n) if "probit" in family else rng.logistic(size=n))
        return data.assign(
            y=pd.factorize(1 + np.searchsorted(THRESHOLDS, latent), sort=True)[0] + 1
        )
    if plain == "lognormal":
        return data.assign(y=np.exp(eta + rng.choice([0.1, 1.0]) * rng.normal(size=n)))
    if plain == "student":
        return data.assign(y=eta + rng.standard_t(rng.choice([2.5, 30.0]), size=n))
    if plain == "beta":
        y = rng.beta(
            np.maximum(chance * 4 * shape, 0.05), np.maximum((1 - chance) * 4 * shape, 0.05)
        )
        return data.assign(y=np.clip(y, 1e-6, 1 - 1e-6))
    if plain == "gamma":
        return data.assign(y=np.maximum(rng.gamma(shape, mu / shape), 1e-12))
    if plain == "inverse_gaussian":
        return data.assign(y=np.maximum(rng.wald(mu, 2.0 * shape), 1e-9))
    y = rng.poisson(mu)
    if plain == "nbinom2":
        y = rng.poisson(rng.gamma(shape, mu / shape))
    if plain == "nbinom1":
        y = rng.poisson(rng.gamma(mu / shape, shape))
    if plain in ("zero_inflated_poisson", "hurdle_poisson"):
        y = np.where(rng.uniform(size=n) < 0.3, 0, y)
    return data.assign(y=y)
