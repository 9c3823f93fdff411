"""The maximum for a density that is Gaussian in many latents: a root of its gradient, by products alone.

Standard deviations are climbed in themselves rather than in their logarithms: the likelihood is even in them,
and regular at zero.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.em.density import Density
from lmeformula.em.geometry.laplace import updated
from lmeformula.em.geometry.scales import (
    STAND_IN,
    Scale,
    find_scales,
    parameter_at,
    sd_of,
    with_unit,
)
from lmeformula.em.iterative import Iterative, Probe, Score
from lmeformula.em.outcome import Outcome
from lmeformula.em.progress import Progress
from lmeformula.em.schedule import in_stderr
from lmeformula.em.types import Info, Iteration, Options, Problem, Solution

# Probes to begin with, and the most of them.
FIRST_PROBES, MOST_PROBES = 24, 384
# Steps of EM for the standard deviations, which are uphill wherever they start.
EM_STEPS = 2
# The distance to the root, in standard errors, at which the last step is taken, and that it may leave.
NEAR, LEFT = 0.02, 0.005
# A standard deviation falls at most to this share of itself in one step.
LEAST_SHARE = 0.3


class _At(NamedTuple):
    """The gradient in the coordinates that are climbed in.

    Attributes:
      s: (d,) coordinates: standard deviations of scales, parameters of all else.
      psi: (d,) parameters.
      score: (d,) gradient in the coordinates.
      noise: (d, d) covariance of its Monte Carlo error.
      latents: (q,) their mode.
    """

    s: Floats
    psi: Floats
    score: Floats
    noise: Floats
    latents: Floats


class Large:
    """What runs such a problem; it keeps what is compiled for the next run."""

    def __init__(self, density: Density, wanted: dict[int, Mask] | None) -> None:
        self.density, self.wanted = density, wanted
        self.iterative = Iterative(density)
        self.names: tuple[str, ...] = ()
        self.scales: tuple[Scale, ...] = ()

    def is_gaussian(self, problem: Problem) -> bool:
        """Whether the density is Gaussian in its latents."""
        start, latents = np.asarray(problem.params, float), np.asarray(problem.latents, float)
        return self.iterative.is_gaussian(start, latents)

    def run(self, problem: Problem, options: Options, seed: int, progress: Progress) -> Solution:
        """Find the maximum.

        Raises:
          FloatingPointError: where the density is not finite, or equations cannot be solved.
        """
        began = time.perf_counter()
        psi, latents = (np.array(part, float) for part in (problem.params, problem.latents))
        self.names = problem.names
        self.iterative.forget()
        self.scales = find_scales(self.density, psi, latents, self.wanted, problem.names)
        diagonal = self.iterative.diagonal(psi, latents)
        self.scales = tuple(with_unit(scale, diagonal, scale.sd) for scale in self.scales)
        least = np.full(self.density.d, -np.inf)
        for scale in self.scales:
            least[scale.place] = STAND_IN * scale.unit
        count, trace = FIRST_PROBES, list[Iteration]()
        at = self._at(self._coordinates(psi, latents), psi, latents, ())
        progress.start(problem.names)
        while True:
            probes = self.iterative.probes(at.psi, at.latents, self.scales, count, seed)
            at, information, settled = self._climb(
                at, probes, least, options, problem, trace, progress
            )
            stopped = _stopped(at, least)
            stderr, covariance = _errors(information, at.noise, stopped)
            largest = in_stderr(np.sqrt(np.diag(covariance)), stderr)
            excess = (largest / options.tolerance) ** 2
            if not settled or excess <= 1.0 or count >= MOST_PROBES:
                break
            count = min(MOST_PROBES, int(np.ceil(1.2 * excess * count)))
        outcome = Outcome.CONVERGED
        if not settled:
            outcome = Outcome.OPTIMIZER_STALLED
        elif excess > 1.0:
            outcome = Outcome.DRAWS_EXHAUSTED
        elif stopped.any():
            outcome = Outcome.BOUNDARY
        return self._solution(at, information, covariance, stderr, stopped, outcome, trace, began)

    # ---- coordinates

    def _coordinates(self, psi: Floats, latents: Floats) -> Floats:
        s = psi.copy()
        for scale in self.scales:
            s[scale.place] = sd_of(self.density, scale, psi, latents)[0]
        return s

    def _psi(self, s: Floats, near: Floats, latents: Floats) -> Floats:
        psi = s.copy()
        for scale in self.scales:
            psi[scale.place] = near[scale.place]
        for scale in self.scales:
            rate = sd_of(self.density, scale, psi, latents)[1]
            found = parameter_at(
                self.density, scale._replace(rate=rate), psi, latents, s[scale.place]
            )
            if found is None:
                raise FloatingPointError("a standard deviation is out of reach of its parameter")
            psi[scale.place] = found
        return psi

    def _rates(self, s: Floats, psi: Floats, latents: Floats) -> Floats:
        """(d,) derivatives of the parameters in the coordinates."""
        rates = np.ones(len(s))
        for scale in self.scales:
            rate = sd_of(self.density, scale, psi, latents)[1]
            rates[scale.place] = 1.0 / (rate * s[scale.place])
        return rates

    def _at(self, s: Floats, near: Floats, latents: Floats, probes: tuple[Probe, ...]) -> _At:
        psi = self._psi(s, near, latents)
        found: Score = self.iterative.score(psi, latents, probes)
        rates = self._rates(s, psi, found.latents)
        noise = found.covariance * np.outer(rates, rates)
        return _At(s, psi, found.value * rates, noise, found.latents)

    # ---- the climb

    def _climb(
        self,
        at: _At,
        probes: tuple[Probe, ...],
        least: Floats,
        options: Options,
        problem: Problem,
        trace: list[Iteration],
        progress: Progress,
    ) -> tuple[_At, Floats, bool]:
        """To the root of the gradient: where, the information there, and whether it was reached."""
        at = self._at(at.s, at.psi, at.latents, probes)
        if not trace:
            for _ in range(EM_STEPS):
                at = self._em_step(at, probes, least)
        metric = self._information(at, probes)
        for _ in range(options.max_iterations):
            began = time.perf_counter()
            stopped = _stopped(at, least)
            step = _newton(metric, at.score, stopped)
            left = max(float(step @ at.score), 0.0) ** 0.5
            if left < NEAR:
                # The metric was put together on the way; the last steps are Newton's.
                metric = self._information(at, probes)
                step = _newton(metric, at.score, stopped)
                left = max(float(step @ at.score), 0.0) ** 0.5
                if left < LEFT:
                    at = self._at(np.maximum(at.s + step, least), at.psi, at.latents, probes)
                    return at, metric, True
            new = self._step(at, step, probes, least)
            if new is None:
                return at, metric, False
            moved, turned = new.s - at.s, at.score - new.score
            if moved @ turned > 1e-8 * np.linalg.norm(moved) * np.linalg.norm(turned):
                metric = updated(metric, moved, turned)
            at = new
            stderr, covariance = _errors(metric, at.noise, stopped)
            line = Iteration(
                number=len(trace) + 1,
                estimates=problem.report(at.psi)[0],
                largest_step=in_stderr(step, stderr),
                largest_error=in_stderr(np.sqrt(np.diag(covariance)), stderr),
                num_draws=max((len(probe.vectors) for probe in probes), default=0),
                acceptance=float("nan"),
                seconds=time.perf_counter() - began,
            )
            trace.append(line)
            progress.update(line)
        return at, metric, False

    def _em_step(self, at: _At, probes: tuple[Probe, ...], least: Floats) -> _At:
        s = at.s.copy()
        for scale in self.scales:
            k, size = scale.place, int(scale.block.sum())
            # The score of a log sd is the sum of squares over the variance, less their number.
            squares = float(at.score[k] * at.s[k]) / size + 1.0
            s[k] = max(float(at.s[k]) * max(squares, 1e-3) ** 0.5, float(least[k]))
        return self._at(s, at.psi, at.latents, probes)

    def _step(self, at: _At, step: Floats, probes: tuple[Probe, ...], least: Floats) -> _At | None:
        """A place along the step where the gradient along it has not turned far against it."""
        length = 1.0
        for scale in self.scales:
            fall = -step[scale.place] / at.s[scale.place]
            if fall > 1.0 - LEAST_SHARE and at.s[scale.place] > 2.0 * least[scale.place]:
                length = min(length, (1.0 - LEAST_SHARE) / fall)
        before = float(at.score @ step)
        for _ in range(12):
            s = np.maximum(at.s + length * step, least)
            new = self._at(s, at.psi, at.latents, probes)
            after = float(new.score @ step)
            if np.isfinite(after) and after > -0.6 * before:
                return new
            turn = before / (before - after) if np.isfinite(after) else 0.0
            length *= max(0.2, turn)
        return None

    def _information(self, at: _At, probes: tuple[Probe, ...]) -> Floats:
        """(d, d) in the coordinates, by differences on the same probes."""
        d = self.density.d
        found = np.zeros((d, d))
        _, curvature = self.density.mixed(at.psi, at.latents)
        lengths = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-6))
        for scale in self.scales:
            lengths[scale.place] = 0.01 * at.s[scale.place]
        for k, along in enumerate(np.diag(lengths)):
            ends = [
                self._at(at.s + side * along, at.psi, at.latents, probes).score
                for side in (1.0, -1.0)
            ]
            found[k] = -(ends[0] - ends[1]) / (2.0 * along[k])
        return 0.5 * (found + found.T)

    # ---- the end

    def _solution(
        self,
        at: _At,
        information: Floats,
        covariance: Floats,
        stderr: Floats,
        stopped: Mask,
        outcome: Outcome,
        trace: list[Iteration],
        began: float,
    ) -> Solution:
        d, q = self.density.d, self.density.q
        rates = self._rates(at.s, at.psi, at.latents)
        by_psi = information / np.outer(rates, rates)
        noise = covariance * np.outer(rates, rates)
        for place in np.flatnonzero(stopped):
            # It is at zero, and a stand-in stands for that: the error of its logarithm covers both.
            noise[place, place] = (rates[place] * at.s[place]) ** 2
        info = Info(
            score=at.score / rates,
            step=np.zeros(d),
            distance=rates * _newton(information, at.score, stopped),
            mc_covariance=noise,
            stderr=np.abs(rates) * stderr,
            observed=by_psi,
            resolved=True,
            reduction=np.full(d, np.nan),
            acceptance=float("nan"),
            divergences=0,
            rhat=float("nan"),
            effective=float("nan"),
            latent_mean=at.latents,
            latent_variance=np.full(q, np.nan),
        )
        return Solution.nothing(at.psi, outcome)._replace(
            mc_covariance=noise,
            information=by_psi,
            held=tuple(f"sd {self.names[k]}" for k in np.flatnonzero(stopped)),
            basis=np.eye(d)[:, ~stopped],
            trace=tuple(trace),
            info=info,
            num_traces=1,
            method="matrix-free",
        )


def _stopped(at: _At, least: Floats) -> Mask:
    """(d,) which are at their least and want to go on."""
    return (at.s <= least * (1.0 + 1e-9)) & (at.score <= 0.0) & np.isfinite(least)


def _newton(information: Floats, score: Floats, stopped: Mask) -> Floats:
    """Newton's step; uphill where the information is not positive definite."""
    step = np.zeros(len(score))
    free = np.flatnonzero(~stopped)
    values, vectors = np.linalg.eigh(information[np.ix_(free, free)])
    size = np.maximum(np.abs(values), 1e-12 * np.abs(values).max(initial=1e-300))
    step[free] = vectors @ ((vectors.T @ score[free]) / size)
    return step


def _errors(information: Floats, noise: Floats, stopped: Mask) -> tuple[Floats, Floats]:
    """Standard errors (d,), inf for what is stopped, and the Monte Carlo covariance (d, d) of the root."""
    d = len(information)
    free = np.flatnonzero(~stopped)
    use = np.ix_(free, free)
    inverse = np.zeros((d, d))
    inverse[use] = np.linalg.pinv(information[use], hermitian=True)
    stderr = np.full(d, np.inf)
    stderr[free] = np.sqrt(np.maximum(np.diag(inverse)[free], 1e-300))
    return stderr, inverse @ noise @ inverse
