"""Fits by draws that several tests look at, each made once."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

import lmeformula as lf

# Rubin (1981), J. Educ. Stat. 6, 377-401: effects of coaching in eight schools, and their standard errors.
EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
SCHOOLS = pd.DataFrame({"y": EFFECTS, "school": list("ABCDEFGH"), "w": 1.0 / ERRORS**2})
PRIORS = {"Intercept": "normal(0, 5)", "sd(school)": "half_cauchy(5)"}


def of_schools(num_warmup: int = 300, **options: int) -> lf.Fit:
    return lf.fit(
        "y ~ 1 + (1 | school)",
        SCHOOLS,
        sigma=1.0,
        weights="w",
        priors=PRIORS,
        method="nuts",
        num_warmup=num_warmup,
        target_acceptance=0.9,
        seed=2,
        progress=False,
        **options,
    )


@functools.cache
def schools() -> lf.Fit:
    """Eight schools, 500 draws of four chains."""
    return of_schools(num_draws=500)


@functools.cache
def few_schools() -> lf.Fit:
    """The same, for what is held to its own draws, however few: 100 of four chains."""
    return of_schools(num_draws=100, num_warmup=100)
