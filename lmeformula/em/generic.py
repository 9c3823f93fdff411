"""Maximum likelihood of a density that only derivatives tell of: by the geometry that its size allows."""

from __future__ import annotations

import threading

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.em.density import MOST_DENSE, Density
from lmeformula.em.geometry.dense import Start, dense_problem, find_start
from lmeformula.em.large import Large
from lmeformula.em.loop import run
from lmeformula.em.outcome import Outcome
from lmeformula.em.progress import Progress, Silent
from lmeformula.em.types import Options, Problem, Solution
from lmeformula.errors import ModelError

# Digits of an answer whose Monte Carlo error is nil, in standard errors: those of differences of Hessians.
LEAST_ERROR = 1e-5
# Errors of the draws' answer within which it agrees with one that has none.
AGREE = 6.0


class Solver:
    """What runs a problem made of a bare density; it keeps what it found out for the next run.

    Called as `Problem.solver` is. The geometry does not depend on the seed, and is worked out once.
    """

    def __init__(self, density: Density, wanted: dict[int, Mask] | None):
        self.density, self.wanted = density, wanted
        self.large = Large(density, wanted)
        self._lock = threading.Lock()
        # What was found out from where.
        self._start: tuple[bytes, Start] | None = None

    def __call__(
        self, problem: Problem, options: Options, seed: int, dtype: str, progress: Progress | None
    ) -> Solution:
        """Find the maximum."""
        plain = problem._replace(solver=None)
        if self.density.dtype == "float32":
            # It does not take double precision.
            dtype = "float32"
        if self.density.q > MOST_DENSE:
            return self._run_large(plain, options, seed, progress)
        try:
            start = self._find_start(plain)
        except KeyboardInterrupt:
            return Solution.nothing(np.array(plain.params, float), Outcome.INTERRUPTED)
        except (FloatingPointError, np.linalg.LinAlgError):
            start = None
        if start is None or not start.at.is_sound:
            found = run(plain, options, seed=seed, dtype=dtype, progress=progress)
            return found._replace(method="diagonal")
        made = dense_problem(plain, self.density, start)
        found = run(made, options, seed=seed, dtype=dtype, progress=progress)
        return _ended(found, plain.names, start)._replace(method="dense")

    def _run_large(
        self, problem: Problem, options: Options, seed: int, progress: Progress | None
    ) -> Solution:
        with self._lock:
            if not self.large.is_gaussian(problem):
                raise ModelError(
                    f"the density has {self.density.q:,} latents, is not Gaussian in them, and is no "
                    "model that is recognised",
                    hint=f"Densities of up to {MOST_DENSE:,} latents are fitted whatever they are. "
                    "Write a larger one as a formula, or so that it is recognised: a "
                    "JointDistribution of normal effects with a variable for each standard "
                    "deviation, and one linear predictor.",
                )
            show = Silent() if progress is None else progress
            try:
                found = self.large.run(problem, options, seed, show)
            except KeyboardInterrupt:
                return Solution.nothing(np.array(problem.params, float), Outcome.INTERRUPTED)
            except (FloatingPointError, np.linalg.LinAlgError):
                return Solution.nothing(np.array(problem.params, float), Outcome.NONFINITE)
            finally:
                show.stop()
        return with_digits(found)

    def _find_start(self, problem: Problem) -> Start:
        psi, latents = (np.array(part, float) for part in (problem.params, problem.latents))
        origin = psi.tobytes() + latents.tobytes()
        with self._lock:
            if self._start is None or self._start[0] != origin:
                found = find_start(self.density, problem.names, psi, latents, self.wanted)
                self._start = (origin, found)
            return self._start[1]


def _ended(found: Solution, names: tuple[str, ...], start: Start) -> Solution:
    """Say how it ended where the data leave a parameter undetermined, or put one at a boundary."""
    covariance = with_digits(found).mc_covariance.copy()
    for scale in start.scales:
        if f"sd {names[scale.place]}" in found.held:
            # It is at zero, and a stand-in stands for that: the error of its logarithm covers both.
            covariance[scale.place, scale.place] = scale.rate**-2.0
    found = found._replace(mc_covariance=covariance)
    if not found.outcome.converged:
        return found
    # One at its limit is there to a unit of its working scale, on which limits are approached exponentially.
    covariance[start.endless, start.endless] = 1.0
    covariance[start.loose, :] = covariance[:, start.loose] = np.nan
    lost = start.loose | start.endless
    found = found._replace(
        mc_covariance=covariance, without_information=tuple(np.array(names, object)[lost])
    )
    if start.loose.any():
        return found._replace(outcome=Outcome.UNIDENTIFIED)
    if found.held or start.endless.any():
        return found._replace(outcome=Outcome.BOUNDARY)
    return _without_noise(found, covariance, start)


def _without_noise(found: Solution, mc_covariance: Floats, start: Start) -> Solution:
    """The maximum by quadrature, where there is one and the draws agree with it."""
    if not start.of.is_exact:
        return found
    apart = np.abs(found.params - start.at.psi)
    if not (start.converged and (apart <= AGREE * np.sqrt(np.diag(mc_covariance))).all()):
        return found
    variances = np.diag(np.linalg.inv(start.observed))
    return found._replace(
        params=start.at.psi,
        mc_covariance=LEAST_ERROR**2 * np.diag(variances),
        information=start.observed,
    )


def with_digits(found: Solution) -> Solution:
    """The solution with an error that covers more than Monte Carlo's: differences, and what the last step left.

    Newton's method leaves the square of the distance that its last step went, in standard errors; with the
    information from halfway, which draws give, a part of its cube.
    """
    if found.info is None:
        return found
    info = found.info
    known = np.isfinite(info.stderr)
    stderr = np.where(known, info.stderr, 0.0)
    went = np.abs(info.distance) / np.where(known, info.stderr, 1.0)
    left = went**2 if found.monte_carlo is None else 0.25 * went**3
    least = stderr * (LEAST_ERROR + left)
    return found._replace(mc_covariance=found.mc_covariance + np.diag(least**2))
