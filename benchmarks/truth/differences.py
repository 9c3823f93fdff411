"""Derivatives by central differences of fourth order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# f'' from values at -2, -1, 0, 1, 2 steps.
SECOND = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / 12.0
STEPS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
# A step along which a log-likelihood changes by the square of this, or more, is too long for differences.
LONG = 0.3
# How often steps are shortened.
ROUNDS = 4


def suited(f: Callable, at: np.ndarray, step: float) -> np.ndarray:
    """(d, d) in columns: steps in which differences of a log-likelihood of (d,) see its curvature.

    Where parameters nearly undo each other, as the standard deviations of a constant and of a column far from
    zero, one alone changes the likelihood beyond all measure over any step that shows the change of both. Steps
    along the axes of the curvature, each as long as that allows, but no longer than `step`, show both.
    """
    ways = step * np.eye(len(at))
    nowhere, ones = np.zeros(len(at)), np.ones(len(at))
    for _ in range(ROUNDS):
        bends = hessian(lambda moved, ways=ways: f(at + ways @ moved), nowhere, ones)
        if not np.isfinite(bends).all():
            return ways
        sizes, turn = np.linalg.eigh(bends)
        sizes = np.sqrt(np.abs(sizes))
        if (sizes <= LONG).all():
            return ways
        ways = ways @ turn * np.minimum(1.0, 0.5 * LONG / np.maximum(sizes, 1e-300))
    return ways


def gradient(f: Callable, at: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Of a function of (d,) whose value is a number or an array (...): (d, ...)."""
    found = []
    for i, step in enumerate(steps):
        ends = [_moved(f, at, i, s * step) for s in (-2, -1, 1, 2)]
        found.append((ends[0] - 8.0 * ends[1] + 8.0 * ends[2] - ends[3]) / (12.0 * step))
    return np.array(found)


def hessian(f: Callable, at: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(d, d) of a function of (d,)."""
    d = len(at)
    middle = f(at)
    found = np.zeros((d, d))
    for i in range(d):
        ends = [middle if s == 0 else _moved(f, at, i, s * steps[i]) for s in STEPS]
        found[i, i] = SECOND @ ends / steps[i] ** 2
        for j in range(i):
            total = 0.0
            # Two crosses of four points each: the second takes the error of the first away.
            for size, weight in ((1.0, 4.0 / 3.0), (2.0, -1.0 / 3.0)):
                cross = 0.0
                for one in (1, -1):
                    for other in (1, -1):
                        moved = at.copy()
                        moved[i] += one * size * steps[i]
                        moved[j] += other * size * steps[j]
                        cross += one * other * f(moved)
                total += weight * cross / (4.0 * size**2)
            found[i, j] = found[j, i] = total / (steps[i] * steps[j])
    return found


def _moved(f: Callable, at: np.ndarray, i: int, step: float) -> np.ndarray:
    moved = at.copy()
    moved[i] += step
    return f(moved)
