"""Coefficients of contrasts between means."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.errors import ModelError

ContrastMethod: TypeAlias = str | Mapping[str, Sequence[float]]

METHODS = ("pairwise", "trt.vs.ctrl", "consec", "eff", "poly")


class Contrasts(NamedTuple):
    """Contrasts of m means.

    Attributes:
      names: (c) of each.
      coefficients: (c, m).
      adjust: the adjustment for several comparisons that they get unless told otherwise.
    """

    names: list[str]
    coefficients: Floats
    adjust: str


def contrast_matrix(method: ContrastMethod, labels: Sequence[str]) -> Contrasts:
    """Set up contrasts of means.

    Args:
      method: "pairwise", "trt.vs.ctrl" (each with the first), "consec" (each with the one before), "eff" (each
        with the mean of all), "poly" (orthogonal polynomials in their order, up to the fourth degree), or a
        mapping of names to coefficients, one for each mean.
      labels: (m) names of the means.
    Returns:
      The contrasts.
    Raises:
      ModelError: for a method that is not listed, a single mean, or coefficients that do not fit.
    Example:
      >>> contrast_matrix("pairwise", ["a", "b", "c"]).names
      ['a - b', 'a - c', 'b - c']
    """
    m = len(labels)
    unit = np.eye(m)
    if isinstance(method, Mapping):
        return _given(method, m)
    if not isinstance(method, str) or method not in METHODS:
        choices = ", ".join(map(repr, METHODS))
        raise ModelError(
            f"there are no contrasts {kinds.shown(method)}",
            hint=f"Choose one of {choices}, or give a mapping of names to coefficients.",
        )
    if m < 2:
        raise ModelError(
            f"one mean ({', '.join(labels)}) has nothing to be contrasted with",
            hint="Leave variables out of `by`, or name further ones.",
        )
    if method == "pairwise":
        names = [f"{a} - {b}" for a, b in itertools.combinations(labels, 2)]
        first, second = np.triu_indices(m, 1)
        return Contrasts(names, unit[first] - unit[second], "tukey")
    if method == "trt.vs.ctrl":
        names = [f"{label} - {labels[0]}" for label in labels[1:]]
        return Contrasts(names, unit[1:] - unit[0], "holm")
    if method == "consec":
        names = [f"{b} - {a}" for a, b in itertools.pairwise(labels)]
        return Contrasts(names, unit[1:] - unit[:-1], "holm")
    if method == "eff":
        return Contrasts([f"{label} effect" for label in labels], unit - 1.0 / m, "holm")
    degrees = min(m - 1, 4)
    names = ["linear", "quadratic", "cubic", "quartic"][:degrees]
    return Contrasts(names, _polynomials(m, degrees), "none")


def _given(method: Mapping[str, Sequence[float]], m: int) -> Contrasts:
    rows = []
    for name, coefficients in method.items():
        row = np.asarray(coefficients, dtype=float)
        if row.shape != (m,) or not np.isfinite(row).all():
            raise ModelError(
                f"the contrast {name!r} has {row.size} coefficients for {m} means",
                hint="Give one finite number for each mean, in the order of the table of means.",
            )
        rows.append(row)
    if not rows:
        raise ModelError("no contrasts were given", hint="Give a name and coefficients.")
    return Contrasts(list(method), np.array(rows), "none")


def _polynomials(m: int, degrees: int) -> Floats:
    """(degrees, m) orthogonal polynomials of 0, 1, ..., m - 1, of length one, rising at the end."""
    powers = np.vander(np.linspace(-1.0, 1.0, m), degrees + 1, increasing=True)
    basis = np.linalg.qr(powers)[0].T[1:]
    return np.asarray(basis * np.sign(basis[:, -1:]))
