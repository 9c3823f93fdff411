"""What a fit says later is what it said at first: predictions, refits, files, pictures in other processes."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import lmeformula as lf
from truth.held import SAME_LOGLIK, Finding, Held, fitted, largest, placed


def afterwards(held: Held, number: int = 2) -> Iterator[Finding]:
    """Hold the fit to `number` of the properties, drawn at random."""
    for i in held.rng.permutation(len(PROPERTIES))[:number]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from PROPERTIES[i](held)


def said(held: Held) -> Iterator[Finding]:
    """An outcome is a sentence, and the summary begins with it."""
    fit = held.fit
    text = str(fit.summary())
    sentence = fit.outcome.value
    shown = sentence.split(":")[0].split(".")[0].split()[0] in text[:200]
    yield Finding("the outcome is said", 0.0 if len(sentence) > 20 and shown else np.inf, text[:80])
    certificate = fit.certificate
    if certificate is None:
        yield Finding("a certificate goes with it", np.inf, "there is none")
        return
    # Converged is a claim that the certificate makes: no line of it may say otherwise.
    failing = [claim.words for claim in certificate.failing]
    broken = (fit.converged and failing) or not all(claim.words for claim in certificate.claims)
    yield Finding(
        "a certificate goes with it", np.inf if broken else 0.0, f"{fit.outcome.name}: {failing}"
    )


def apart(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Differences; the same infinity, as means of separated rows may be, is no difference."""
    return np.where(here == there, 0.0, here - there)


def predictions(held: Held) -> Iterator[Finding]:
    """predict(rows) is predict(), for the response and the predictor, with and without effects."""
    fit = held.fit
    rows = held.data.iloc[fit.model.design.rows]
    for kind in ("response", "link"):
        for options in ({}, {"re_form": "NA"}):
            here = np.asarray(fit.predict(kind=kind, **options), float)
            there = np.asarray(fit.predict(rows, kind=kind, **options), float)
            off = largest(apart(here, there)) if here.shape == there.shape else np.inf
            scale = 1e-9 * max(largest(here), held.spread)
            yield Finding("predict(rows)", off / scale, f"{kind} {options}: off by {off:.3g}")
    order = held.rng.permutation(len(rows))[: max(1, len(rows) // 2)]
    part = np.asarray(fit.predict(rows.iloc[order]), float)
    off = largest(apart(part, np.asarray(fit.predict(), float)[order]))
    scale = 1e-9 * max(largest(part), held.spread)
    yield Finding("predict(rows)", off / scale, f"some rows in another order: off by {off:.3g}")


def residuals(held: Held) -> Iterator[Finding]:
    """fitted + residuals is the response."""
    fit = held.fit
    if fit.model.family.categories is not None or held.spec.response != "y":
        return
    y = held.data["y"].to_numpy(float)[fit.model.design.rows]
    means, left = np.asarray(fit.fitted(), float), np.asarray(fit.residuals(), float)
    # Where responses are predicted perfectly means may run to infinity, and say so.
    is_told = ~np.isinf(means) | (fit.outcome.name != "SEPARATION")
    off = largest((means + left - y)[is_told])
    yield Finding(
        "fitted + residuals", off / (1e-9 * max(largest(y), held.spread)), f"off by {off:.3g}"
    )


def refitted(held: Held) -> Iterator[Finding]:
    """refit(y) is the fit of y, the same one and another."""
    fit, rows = held.fit, held.fit.model.design.rows
    if held.spec.response != "y":
        return
    y = held.data["y"].to_numpy(float)
    yield from _alike("refit(y)", held, fit.refit(y[rows]))
    if held.spec.family != "gaussian":
        return
    other = y + held.spread * held.rng.normal(size=len(y))
    again = fitted(held.data.assign(y=other), held.spec)
    changed = Held(held.case, again, held.rng)
    yield from _alike("refit(another y)", changed, fit.refit(other[rows]))


def updated(held: Held) -> Iterator[Finding]:
    """update("~ .") is the fit."""
    yield from _alike('update("~ .")', held, held.fit.update("~ .", held.data))


def saved(held: Held) -> Iterator[Finding]:
    """A fit that was saved and loaded is the fit, to the last bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.fit"
        held.fit.save(path)
        again = lf.load(path)
    fit = held.fit
    same = np.array_equal(fit.param_values, again.param_values, equal_nan=True)
    same &= np.array_equal(fit.param_stderr, again.param_stderr, equal_nan=True)
    same &= np.array_equal(fit.loglik[:-1], again.loglik[:-1], equal_nan=True)
    same &= fit.loglik.probes == again.loglik.probes
    same &= fit.outcome is again.outcome
    yield Finding(
        "save and load", 0.0 if same else np.inf, "parameters, errors, likelihood or outcome differ"
    )
    rows = held.data.iloc[fit.model.design.rows]
    off = largest(np.asarray(again.predict(rows), float) - np.asarray(fit.predict(), float))
    scale = 1e-9 * max(largest(np.asarray(fit.predict(), float)), held.spread)
    yield Finding("save and load", off / scale, f"predictions differ by {off:.3g}")


def pickled(held: Held) -> Iterator[Finding]:
    """A fit goes through a pickle, as process pools need."""
    try:
        again = pickle.loads(pickle.dumps(held.fit))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        yield Finding("pickle", np.inf, str(error)[:100])
        return
    same = np.array_equal(again.param_values, held.fit.param_values, equal_nan=True)
    yield Finding("pickle", 0.0 if same else np.inf, "parameters differ")


def simulated(held: Held) -> Iterator[Finding]:
    """Responses drawn with the effects kept have the fitted means and the residual variance."""
    fit = held.fit
    if held.spec.family != "gaussian" or held.rng.uniform() < 0.8:
        return
    number = 200
    drawn = np.asarray(fit.simulate(number, seed=1, re_form=None), float)
    w = np.ones(fit.nobs) if fit.model.design.weights is None else fit.model.design.weights
    sd = float(fit.sigma) / np.sqrt(w)
    z = (drawn.mean(axis=1) - np.asarray(fit.fitted(), float)) / (sd / np.sqrt(number))
    ratio = drawn.var(axis=1, ddof=1) / sd**2
    chi = (number - 1) * ratio.sum()
    df = (number - 1) * len(z)
    # Six standard errors: one false alarm in a billion.
    yield Finding(
        "simulated means",
        abs(float(z @ z) - len(z)) / (6.0 * np.sqrt(2 * len(z)) + 6),
        f"chi2 {z @ z:.1f} of {len(z)}",
    )
    yield Finding(
        "simulated variances", abs(chi - df) / (6.0 * np.sqrt(2.0 * df)), f"chi2 {chi:.0f} of {df}"
    )


def _alike(name: str, held: Held, other: lf.Fit) -> Iterator[Finding]:
    fit = held.fit
    if not (fit.converged and other.converged):
        same = fit.converged == other.converged
        words = f"{fit.outcome.name} ({fit.loglik.value:.6f}), {other.outcome.name} ({other.loglik.value:.6f})"
        yield Finding(f"{name}, outcome", 0.0 if same else np.inf, words)
        return
    off = abs(fit.loglik.value - other.loglik.value)
    words = f"log-likelihood {fit.loglik.value:.7f}, then {other.loglik.value:.7f}"
    yield Finding(name, off / SAME_LOGLIK, words)
    means = placed(other, len(held.data)) - held.means
    off = largest(means[np.isfinite(means)])
    yield Finding(
        name,
        off / (1e-2 * held.spread + 1e-9 * np.nanmax(np.abs(held.means))),
        f"means differ by {off:.3g}",
    )


PROPERTIES: tuple[Callable[[Held], Iterator[Finding]], ...] = (
    said, predictions, residuals, refitted, updated, saved, pickled, simulated,
)  # fmt: skip
