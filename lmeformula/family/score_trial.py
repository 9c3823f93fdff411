"""A user's family tried out on its own draws: the score's mean and variance, which a likelihood must have."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Tensor
from lmeformula.errors import ModelError
from lmeformula.family.trial import PREDICTORS, TOLERANCE, built, own_points, taken
from lmeformula.family.user_family import UserFamily
from lmeformula.startup import tf

NUM_DRAWS = 4000
# Means that are zero are farther than so many standard errors once in a billion trials, or, where tails are
# heavy, a million.
MOST_ERRORS = 8.0


def check_score(user: UserFamily) -> None:
    """Check that over draws the score in the predictor has mean zero, and minus the curvature for its variance.

    That fails, at some predictor, where a density does not integrate to one, has kinks or jumps that
    derivatives do not see, or has a sampler of another distribution.

    Args:
      user: the family, which `try_out` has passed.
    Raises:
      ModelError: that says which of the two fails, and where.
    References:
      Bartlett (1953), Biometrika 40, 12-19, for the identities.
    """
    for number, own in enumerate(own_points(user)):
        _check_at(user, own, number)


def _check_at(user: UserFamily, own: tuple[Tensor, ...], seed: int) -> None:
    eta = tf.constant(PREDICTORS, tf.float64)
    draws = tf.cast(built(user, eta, own).sample(NUM_DRAWS, seed=[seed, 2]), tf.float64)
    wide = eta + tf.zeros_like(draws)
    _, score, curvature = taken(lambda x: built(user, x, own).log_prob(draws), wide, 2)
    score = np.asarray(score)
    bend = np.zeros_like(score) if curvature is None else np.asarray(curvature)
    finite = np.isfinite(score).all() and np.isfinite(bend).all()
    if not finite or not np.abs(score).max() > 0.0:
        return
    hint = (
        "A fit needs the log density's curvature: give a smooth density (tfd.StudentT where errors have heavy "
        "tails, tfd.LogitNormal or tfd.Logistic where they are peaked), and one that its `sample` draws from."
    )
    which = f"the log density of the family {user.name!r}"
    where = np.asarray(user.inverse(eta))
    bent = np.abs(bend) > TOLERANCE**2 * (score**2).mean(axis=0)
    place = int(np.argmin(bent.mean(axis=0)))
    if not bent[:, place].any():
        raise ModelError(
            f"{which} has no curvature in the predictor at mu = {where[place]:g}: its slope is "
            "constant between kinks or jumps",
            hint=hint,
        )
    for values, problem in (
        (
            score,
            "does not belong to its draws: over them its slope in the predictor has the mean {:.3g}, not zero",
        ),
        (
            score**2 + bend,
            "has kinks or jumps, or does not integrate to one: over its draws the squared slope and "
            "the curvature in the predictor add up to {:.3g}, not zero",
        ),
    ):
        errors = np.maximum(values.std(axis=0) / np.sqrt(len(values)), 1e-9)
        far = np.abs(values.mean(axis=0)) / errors
        place = int(np.argmax(far))
        if far[place] > MOST_ERRORS:
            found = float(values.mean(axis=0)[place])
            raise ModelError(
                f"{which} {problem.format(found)}, at mu = {where[place]:g}", hint=hint
            )
