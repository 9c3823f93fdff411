"""The same model with a column x that is about zero, and with one that is far from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lmeformula import Fit

Floats = np.ndarray

SHIFT = 2000.0


def years(levels: int = 24, rows: int = 12) -> pd.DataFrame:
    """Responses of several families to x: of levels g with intercepts and slopes, h, and parts p of g."""
    rng = np.random.default_rng(5)
    n = levels * rows
    g, x = np.repeat(np.arange(levels), rows), rng.integers(-7, 8, n).astype(float)
    h, p = rng.integers(0, 10, n), np.arange(n) % 2
    eta = 0.3 + 0.05 * x + 0.6 * rng.normal(size=levels)[g] + 0.2 * rng.normal(size=levels)[g] * x
    eta = eta + 0.5 * rng.normal(size=10)[h] + 0.4 * rng.normal(size=(levels, 2))[g, p]
    latent = eta + rng.logistic(size=n)
    return pd.DataFrame(
        {
            "yes": (latent > 0.0).astype(float),
            "count": rng.poisson(np.exp(0.5 * eta)),
            "y": eta + 0.8 * rng.normal(size=n),
            "grade": pd.Categorical(np.digitize(latent, [-1.0, 1.0]), ordered=True),
            "x": x,
            "g": g.astype(str),
            "h": h.astype(str),
            "p": p.astype(str),
        }
    )


def far(data: pd.DataFrame, shift: float = SHIFT) -> pd.DataFrame:
    """The data with x moved away from its origin."""
    return data.assign(x=data.x + shift)


def moved(values: Floats, names: Sequence[str], shift: float = SHIFT) -> Floats:
    """What is reported (d,) when x is moved by `shift`, from what is reported before.

    An intercept is that of the new zero: a - shift b, with variance var a - 2 shift cov + shift^2 var b;
    thresholds go the other way.
    """
    found, place = np.array(values), {name: number for number, name in enumerate(names)}
    for name, number in place.items():
        if name == "Intercept":
            found[number] -= shift * values[place["x"]]
        elif "|" in name:
            found[number] += shift * values[place["x"]]
        elif name.startswith("cor("):
            group = name[4:-1].rsplit(":", 1)[0]
            first, second = place[f"sd({group}:Intercept)"], place[f"sd({group}:x)"]
            a, b, cor = values[first], values[second], values[number]
            sd = np.hypot(cor * a - shift * b, np.sqrt(1.0 - cor**2) * a)
            found[first], found[number] = sd, (cor * a - shift * b) / sd if sd > 0.0 else 0.0
    return found


def moved_errors(fit: Fit, shift: float = SHIFT) -> Floats:
    """(d,) standard errors of what is reported when x is moved, by the delta method; nan at bounds."""
    names, values, columns = fit.param_names, fit.param_values, []
    inside = np.flatnonzero(np.isfinite(fit.param_stderr))
    for number in inside:
        step = np.zeros(len(values))
        step[number] = 1e-4 * fit.param_stderr[number]
        ends = [moved(values + sign * step, names, shift)[inside] for sign in (1.0, -1.0)]
        columns.append((ends[0] - ends[1]) / (2.0 * step[number]))
    jacobian, known = np.array(columns).T, fit.param_vcov[np.ix_(inside, inside)]
    found = np.full(len(values), np.nan)
    found[inside] = np.sqrt(np.diag(jacobian @ known @ jacobian.T))
    return found
