"""Start values of a user's family: the best one predictor for all rows, by its own density."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.startup import tf

# As many rows, evenly spread over the sorted ones, stand for all: what is compiled for them serves any data.
STAND_INS = 200
# How far each unconstrained own parameter is moved in search of a place to climb from.
MOVES = (-8.0, -4.0, -2.0, -1.0, 1.0, 2.0, 4.0, 8.0)
# Off round numbers, at which gradients of some of TFP's functions are wrong.
ASIDE = 0.03
FLAT = (-2.0, -1.0, 0.0, 1.0, 2.0)
# In units of the information's root: an outlier's score must not decide where the fit starts.
LONGEST = 4.0


class Constant(NamedTuple):
    """A density's maximum over one predictor for all rows.

    Attributes:
      eta: that predictor.
      free: (f,) unconstrained own parameters.
      information: mean of the squared scores of the predictor.
    """

    eta: float
    free: Floats
    information: float


class Climber:
    """Finds a family's constant predictors; compiled once.

    Attributes:
      density: (eta (n,), response arrays (n,), unconstrained own parameters, f scalars) -> log densities (n,).
      free: (f,) unconstrained own parameters to search around.
    """

    def __init__(self, density: Callable[..., Tensor], free: Floats) -> None:
        self.density = density
        self.free = free + ASIDE
        self._program: Any = None

    def __call__(
        self, response: tuple[Floats, ...], values: Floats, candidates: Floats
    ) -> Constant:
        """Search.

        Args:
          response: arrays (n,) of any length.
          values: (n,) what the rows are sorted by.
          candidates: predictors to begin with, such as the linked quartiles of the responses.
        """
        places = np.linspace(0, len(values) - 1, STAND_INS).round().astype(int)
        chosen = np.argsort(values, kind="stable")[places]
        rows = tuple(array[chosen] for array in response)

        def value(at: Floats) -> float:
            found = self._evaluate(at, rows)[0]
            return found if np.isfinite(found) else -np.inf

        begins = [*candidates[np.isfinite(candidates)], *FLAT]
        best = max((np.array([eta, *self.free]) for eta in begins), key=value)
        highest = value(best)
        # Coordinates one after the other, and the predictor again for each: scales move it.
        for _ in range(2):
            for place in range(1, len(best)):
                for move in MOVES:
                    for eta in {best[0], *begins}:
                        tried = best.copy()
                        tried[place] += move
                        tried[0] = eta
                        reached = value(tried)
                        if reached > highest:
                            best, highest = tried, reached
        if not np.isfinite(highest):
            return Constant(0.0, self.free, 1.0)
        best = self._climbed(best, rows)
        scores = self._evaluate(best, rows)[2]
        return Constant(float(best[0]), best[1:], max(float(np.mean(scores**2)), 1e-12))

    def working(self, response: tuple[Floats, ...], found: Constant) -> Floats:
        """(n,) responses on the scale of the predictor: a step of Fisher scoring from the constant one."""
        scores = self._scores(found, response) / np.sqrt(found.information)
        held = np.clip(np.where(np.isfinite(scores), scores, 0.0), -LONGEST, LONGEST)
        return np.asarray(found.eta + held / np.sqrt(found.information))

    def _climbed(self, start: Floats, rows: tuple[Floats, ...]) -> Floats:
        import scipy.optimize  # a tenth of a second, which other fits need not wait for

        units = np.maximum(np.abs(start), 1.0)

        def negative(at: Floats) -> tuple[float, Floats]:
            value, gradient, _ = self._evaluate(at * units, rows)
            if not (np.isfinite(value) and np.isfinite(gradient).all()):
                return 1e300, np.zeros_like(at)
            return -value, -gradient * units

        found = scipy.optimize.minimize(
            negative, start / units, jac=True, method="L-BFGS-B", options={"maxiter": 100}
        )
        # A likelihood that rises for ever carries parameters off: what the search began with will do then.
        is_near = np.abs(found.x * units - start) <= 30.0 * units
        return np.asarray(found.x * units) if is_near.all() else start

    def _evaluate(self, at: Floats, rows: tuple[Floats, ...]) -> tuple[float, Floats, Floats]:
        if self._program is None:
            self._program = _program(self.density)
        value, gradient, scores = self._program(tf.constant(at), tuple(map(tf.constant, rows)))
        return float(value), gradient.numpy(), scores.numpy()

    def _scores(self, found: Constant, response: tuple[Floats, ...]) -> Floats:
        eta = tf.fill([len(response[0])], tf.constant(found.eta, tf.float64))
        with tf.GradientTape() as tape:
            tape.watch(eta)
            free = [tf.constant(value, tf.float64) for value in found.free]
            value = self.density(eta, tuple(map(tf.constant, response)), free)
        return np.asarray(tape.gradient(value, eta))


def _program(density: Callable[..., Tensor]) -> Any:
    """(f + 1 numbers, response arrays) -> mean log density, its gradient, and the predictor's scores."""

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def program(at: Tensor, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(at)
            eta = at[0] + tf.zeros_like(rows[0])
            tape.watch(eta)
            value = tf.reduce_mean(density(eta, rows, tf.unstack(at[1:])))
        in_at, in_eta = tape.gradient(value, [at, eta])
        return value, in_at, in_eta * tf.cast(tf.size(rows[0]), eta.dtype)

    return program
