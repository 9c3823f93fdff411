"""The published fits of reference_fits.json, by id."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import lmeformula as lf
from lmeformula.model import Model

# lme4's optimisers leave the deviance up to this far above its minimum.
DEVIANCE = 1e-4
# Near a maximum the deviance rises by the square of the distance in standard errors.
IN_STDERR = DEVIANCE**0.5


class Component(NamedTuple):
    """One covariance matrix: the group, its columns, their sds, and correlations (lower triangle)."""

    group: str
    columns: tuple[str, ...]
    sd: tuple[float, ...]
    correlations: tuple[float, ...]


class Modes(NamedTuple):
    """Conditional modes of the first levels of a group, a value for each level and column."""

    group: str
    levels: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[float, ...]


class Reference(NamedTuple):
    """One published fit."""

    id: str
    data: str
    formula: str
    family: str
    reml: bool
    loglik: float
    df: int
    nobs: int
    fixed: dict[str, float]
    stderr: dict[str, float]
    components: tuple[Component, ...]
    sigma: float
    modes: tuple[Modes, ...]
    fitted: tuple[float, ...]


def ours(name: str) -> str:
    """R's name of a coefficient as this package writes it."""
    return "Intercept" if name == "(Intercept)" else name


@cache
def gaussian_references() -> dict[str, Reference]:
    """All Gaussian fits by id."""
    entries = json.loads((Path(__file__).parent / "reference_fits.json").read_text("utf-8"))
    found = [_reference(entry) for entry in entries if entry["family"] == "gaussian"]
    return {reference.id: reference for reference in found}


@cache
def model_of(id: str) -> Model:
    """The model of a Gaussian reference fit, over the shipped data."""
    reference = gaussian_references()[id]
    return lf.compile(lf.design(reference.formula, lf.datasets.load(reference.data)))


def _reference(entry: dict) -> Reference:
    names = [ours(name) for name in entry["fixed_names"]]
    return Reference(
        id=entry["id"],
        data=entry["data"],
        formula=entry["formula"],
        family=entry["family"],
        reml=entry["estimator"] == "REML",
        loglik=entry["logLik"],
        df=entry["df"],
        nobs=entry["nobs"],
        fixed=dict(zip(names, entry["fixed"], strict=True)),
        stderr=dict(zip(names, entry["fixed_se"], strict=True)),
        components=tuple(
            Component(
                part["group"],
                tuple(ours(name) for name in part["names"]),
                tuple(part["sd"]),
                tuple(part["corr_lower"]),
            )
            for part in entry["varcorr"]
        ),
        sigma=entry["sigma_or_dispersion"],
        modes=tuple(
            Modes(
                group,
                tuple(part["levels"]),
                tuple(ours(name) for name in part["names"]),
                tuple(part["values"]),
            )
            for group, part in entry["ranef_head"].items()
        ),
        fitted=tuple(entry["fitted_head"]),
    )
