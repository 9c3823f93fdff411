"""Reported standard errors against a Hessian by differences, whose own error is seen from two step sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from truth.held import SAME_LOGLIK, Finding

# Scaled eigenvalues of the information below which differences cannot tell how wide the maximum is.
VAGUE = 1e-4
# Steps relative to the usual ones: the smaller are tried where the others find a fault.
COARSE, FINE = 1.0, 0.2


class Reported(NamedTuple):
    """What is compared.

    Attributes:
      stderr: (d,) reported standard errors of the parameters that are not held.
      names: (d,) of the parameters.
      jacobian: (d, d) of the reporting scale in the working one.
      block: how many parameters, the first ones, have errors from their own block.
      tolerance: relative.
    """

    stderr: np.ndarray
    names: np.ndarray
    jacobian: np.ndarray
    block: int
    tolerance: float


class Seen(NamedTuple):
    """By one step size: what a Newton step gains, the standard errors, and the least scaled eigenvalue."""

    gain: float
    stderr: np.ndarray
    least: float


def compared(
    measure: Callable[[float], tuple[np.ndarray, np.ndarray]], reported: Reported
) -> Iterator[Finding]:
    """Hold the fit to a vanishing score, and its standard errors to the inverse of the information.

    Args:
      measure: relative step -> score and information on the working scale.
      reported: the fit's side.
    """
    first = seen(*measure(COARSE), reported)
    if first is None:
        return
    found = _findings(first, reported)
    if any(finding.fails for finding in found):
        second = seen(*measure(FINE), reported)
        if second is None:
            return
        found = _findings(second, reported)
        moved = np.abs(second.stderr / first.stderr - 1.0).max()
        if moved > 0.3 * _tolerance(second, reported) and found[1].fails:
            return  # differences do not know it better
    yield from found


def scaled(information: np.ndarray) -> np.ndarray:
    """To unit diagonal."""
    roots = np.sqrt(np.abs(np.diag(information)))
    roots = np.where(roots > 0, roots, 1.0)
    return information / np.outer(roots, roots)


def seen(score: np.ndarray, information: np.ndarray, reported: Reported) -> Seen | None:
    """Gain and standard errors, or None where the information is too nearly singular for differences."""
    if not np.isfinite(information).all():
        return None
    least = float(np.linalg.eigvalsh(scaled(information))[0])
    if least < VAGUE:
        return None
    inverse = np.linalg.inv(information)
    right = np.sqrt(np.diag(reported.jacobian @ inverse @ reported.jacobian.T))
    own = reported.block
    right[:own] = np.sqrt(np.diag(np.linalg.inv(information[:own, :own])))
    return Seen(0.5 * float(score @ inverse @ score), right, least)


def _tolerance(found: Seen, reported: Reported) -> float:
    # Estimates within the gain of the maximum have errors that are off by the third derivative times that.
    return reported.tolerance + 1e-7 / found.least + 10.0 * float(np.sqrt(max(found.gain, 0.0)))


def _findings(found: Seen, reported: Reported) -> tuple[Finding, Finding]:
    away = np.abs(reported.stderr / found.stderr - 1.0)
    worst = int(np.nanargmax(away)) if np.isfinite(away).any() else 0
    words = (
        f"of {reported.names[worst]}: {reported.stderr[worst]:.6g}, dense {found.stderr[worst]:.6g}"
    )
    return (
        Finding("stationary", found.gain / SAME_LOGLIK, f"a Newton step gains {found.gain:.2e}"),
        Finding("standard errors", float(away[worst]) / _tolerance(found, reported), words),
    )
