"""A problem that knows its whitening: groups of rows around a mean and an effect, normal or Poisson."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import gammaln, logsumexp

from lmeformula.em import Geometry, Problem
from lmeformula.em.types import Edge, Scores

ROWS = 3
NAMES = ("mean", "log sd")


class Groups(NamedTuple):
    """Rows y (g, 3) of g groups: eta = mean + sd u_i, y normal of variance one or Poisson of mean exp(eta)."""

    y: np.ndarray
    is_poisson: bool


def groups(sd: float, *, is_poisson: bool, count: int = 30, seed: int = 3) -> Groups:
    rng = np.random.default_rng(seed)
    eta = 0.5 + sd * rng.normal(size=(count, 1)) + np.zeros(ROWS)
    return Groups(
        rng.poisson(np.exp(eta)) * 1.0 if is_poisson else eta + rng.normal(size=eta.shape),
        is_poisson,
    )


def modes(given: Groups, psi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(g,) modes of the effects, and the negative second derivatives there."""
    sums, sd, u = given.y.sum(axis=1), np.exp(psi[1]), np.zeros(len(given.y))
    for _ in range(50):
        eta = psi[0] + sd * u
        mu = np.exp(eta) if given.is_poisson else eta
        curvature = 1 + ROWS * sd**2 * (mu if given.is_poisson else 1.0)
        u = u + np.clip((sd * (sums - ROWS * mu) - u) / curvature, -1, 1)
    return u, np.broadcast_to(curvature, u.shape)


def loglik(given: Groups, psi: np.ndarray) -> float:
    """By adaptive quadrature with 40 nodes."""
    centre, curvature = modes(given, psi)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    spread = 1 / np.sqrt(curvature)[:, None]
    u = centre[:, None] + spread * nodes
    eta, y = psi[0] + np.exp(psi[1]) * u[:, None], given.y[:, :, None]
    rows = -0.5 * (y - eta) ** 2 - 0.5 * np.log(2 * np.pi)
    if given.is_poisson:
        rows = y * eta - np.exp(eta) - gammaln(y + 1)
    value = rows.sum(axis=1) - 0.5 * u**2 + 0.5 * nodes**2 + np.log(weights * spread)
    return float((logsumexp(value, axis=1) - 0.5 * np.log(2 * np.pi)).sum())


def problem(given: Groups, start: tuple[float, float], *, has_edge: bool = False) -> Problem:
    """The problem in whitened coordinates, u = mode + z / root of the curvature, with control variates.

    For normal rows they leave no variance; for Poisson rows that of what is not linear or quadratic.
    """
    is_poisson = given.is_poisson

    def parts(params, z, arrays, data):
        centre, curvature, at = (part[:, None] for part in arrays)
        u = centre + z / tf.sqrt(curvature)
        sd = tf.exp(params[1])
        eta = params[0] + sd * u
        mu = tf.exp(eta) if is_poisson else eta
        sums = tf.reduce_sum(data, axis=1)[:, None]
        return centre, curvature, at, u, sd, eta, mu, sums

    def density(params, z, arrays, data):
        _, curvature, _, u, sd, eta, mu, sums = parts(params, z, arrays, data)
        rows = sums * eta - ROWS * (mu if is_poisson else 0.5 * eta**2)
        slope = sd * (sums - ROWS * mu) - u
        return tf.reduce_sum(rows - 0.5 * u**2, axis=0), slope / tf.sqrt(curvature)

    def score(params, z, gradient, arrays, data):
        centre, curvature, at, u, sd, _, mu, sums = parts(params, z, arrays, data)
        left = sums - ROWS * mu
        raw = tf.stack([tf.reduce_sum(left, axis=0), tf.reduce_sum(sd * u * left, axis=0)])
        # Newton's step, of expectation zero; E[(u + centre) step] is minus the posterior variance if normal.
        step = gradient / tf.sqrt(curvature)
        weight = at if is_poisson else tf.ones_like(at)
        linear = -ROWS * sd * weight * step
        if is_poisson:
            second = (sd * (sums - ROWS * at) - ROWS * sd**2 * weight * centre) * step
        else:
            second = sd * (sums - ROWS * params[0]) * step
            second -= ROWS * sd**2 * ((u + centre) * step + 1 / curvature)
        variates = tf.stack([tf.reduce_sum(linear, axis=0), tf.reduce_sum(second, axis=0)])
        return Scores(raw, raw + variates)

    def geometry(psi):
        centre, curvature = modes(given, psi)
        eta = psi[0] + np.exp(psi[1]) * centre
        weight = np.exp(eta) if is_poisson else np.ones_like(eta)
        # Of the complete data: of all rows, and of the log sd that multiplies the effects.
        square = centre**2 + 1 / curvature
        sd = np.exp(psi[1])
        complete = ROWS * np.array(
            [
                [weight.sum(), sd * (weight * centre).sum()],
                [sd * (weight * centre).sum(), sd**2 * (weight * square).sum()],
            ]
        )
        # What is observed if the posterior is normal, for the steps.
        seen = 1 - 1 / curvature
        observed = np.diag([(ROWS * weight / curvature).sum(), max(2 * (seen**2).sum(), 1e-3)])
        return Geometry((centre, curvature, weight), complete, observed)

    def edges(psi):
        # Where three rows know an effect as well as its prior does.
        unit, stand_in = 1 / np.sqrt(ROWS), 1e-3
        return (
            Edge(
                name="sd",
                directions=np.array([[0.0], [-1.0]]),
                nearness=float(np.exp(psi[1]) / unit),
                outside=np.array([psi[0], np.log(stand_in * unit)]),
                inside=np.array([psi[0], np.log(0.5 * unit)]),
            ),
        )

    return Problem(
        params=np.array(start),
        names=NAMES,
        latents=np.zeros(len(given.y)),
        data=given.y,
        density=density,
        score=score,
        to_latents=lambda z, arrays, data: arrays[0][:, None] + z / tf.sqrt(arrays[1])[:, None],
        to_position=lambda latents, arrays: np.zeros(len(latents)),
        report=lambda psi: (psi, np.eye(2)),
        geometry=geometry,
        max_step=np.array([np.inf, 1.0]),
        program=("groups", is_poisson),
        refine=True,
        edges=edges if has_edge else None,
    )
