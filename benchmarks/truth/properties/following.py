"""What follows a fit: profiles, refits to draws, rows left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import lmeformula as lf
from truth.held import SAME_LOGLIK, Finding, Held, fitted


def following(held: Held) -> Iterator[Finding]:
    """One of the ways, drawn at random, comes to an end that it states."""
    if not held.fit.converged:
        return
    ways = (profiled, drawn_again, left_out)
    yield from ways[int(held.rng.integers(len(ways)))](held)


def profiled(held: Held) -> Iterator[Finding]:
    """A profile's interval is about the estimate."""
    fit = held.fit
    known = np.flatnonzero(fit.param_stderr > 0)
    if not len(known):
        return
    place = int(known[int(held.rng.integers(len(known)))])
    name, value = str(fit.param_names[place]), float(fit.param_values[place])
    try:
        bounds = fit.confint(parm=name, method="profile", level=0.9)
    except lf.LmeFormulaError as error:
        yield Finding("a profile ends or says why", 0.0, str(error))
        return
    low, high = float(bounds["lower"].iloc[0]), float(bounds["upper"].iloc[0])
    missed = value < low or value > high
    yield Finding(
        "a profile is about its estimate",
        np.inf if missed else 0.0,
        f"{name}: {value:.5g} in {low:.5g} to {high:.5g}",
    )


def drawn_again(held: Held) -> Iterator[Finding]:
    """Refits to responses that a fit draws, side by side, are as high as fits of these from the beginning."""
    rows = held.data.iloc[held.fit.model.design.rows]
    draws = held.fit.simulate(2, seed=1)
    try:
        refits = held.fit.refit(draws)
    except lf.LmeFormulaError as error:
        # Such as one that lacks a category, or is constant.
        yield Finding("refits to draws are fits", 0.0, str(error))
        return
    for label, again in zip(draws.columns, refits, strict=True):
        try:
            anew = fitted(rows.assign(y=draws[label].to_numpy()), held.spec)
        except lf.LmeFormulaError as error:
            yield Finding("refits to draws are fits", 0.0, str(error))
            continue
        if anew.converged and again.converged:
            short = (anew.loglik.value - again.loglik) / SAME_LOGLIK
            words = f"{again.loglik:.6f}, from the beginning {anew.loglik.value:.6f}"
            yield Finding("refits to draws are fits", short, words)


def left_out(held: Held) -> Iterator[Finding]:
    """Rows left out have densities by the likelihood's method, where the fits without them came to an end."""
    try:
        found = held.fit.cross_validate(2, seed=1)
    except lf.LmeFormulaError as error:
        yield Finding("cross-validation ends or says why", 0.0, str(error))
        return
    is_lacking = not (any(found.outcomes) or np.isfinite(found.log_densities).all())
    wrong = is_lacking or found.method != held.fit.method
    words = f"{found.method}, {found.outcomes}, {found.log_densities[:4]}"
    yield Finding("cross-validation ends or says why", np.inf if wrong else 0.0, words)
