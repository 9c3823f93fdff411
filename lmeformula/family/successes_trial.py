"""A user's family of successes out of trials, tried out at several numbers of trials."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.errors import ModelError
from lmeformula.family.trial import NUM_DRAWS, PREDICTORS, TOLERANCE, brief, built, own_points
from lmeformula.family.user_family import UserFamily
from lmeformula.startup import tf

# One for each of the predictors.
TRIALS = (1.0, 2.0, 5.0, 12.0, 30.0)
# Where the share of variances is taken, if it is the same everywhere.
MIDDLE = 0.3


def try_trials(user: UserFamily, has_own_mean: bool) -> None:
    """Check that successes are numbers within the trials, whatever these are.

    Args:
      user: the family, which `try_out` has passed.
      has_own_mean: whether the distribution's own mean is that of the family.
    Raises:
      ModelError: that says what is wrong with it.
    """
    eta, trials = tf.constant(PREDICTORS, tf.float64), np.array(TRIALS)
    which = f"the distribution of the family {user.name!r}"
    for number, own in enumerate(own_points(user)):
        made = built(user, eta, own, tf.constant(trials))
        draws = np.asarray(made.sample(NUM_DRAWS, seed=[number, 4]))
        if (draws > trials).any():
            row = int(np.argmax((draws > trials).any(axis=0)))
            raise ModelError(
                f"{which} draws {draws[:, row].max():g} successes out of {TRIALS[row]:g} trials",
                hint="Give the distribution the numbers of trials, as tfd.Binomial(trials, probs=mu).",
            )
        for row, count in enumerate(TRIALS):
            total = _total(user, eta[row : row + 1], own, count)
            if not abs(total - 1.0) < TOLERANCE:
                raise ModelError(
                    f"the chances of 0 to {count:g} successes out of {count:g} trials by the family "
                    f"{user.name!r} add up to {total:.6g}, not to one",
                    hint="Look whether the density takes the numbers of trials from `trials`.",
                )
        if has_own_mean:
            _check_share(user, eta, own)


def _total(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], trials: float) -> float:
    y = tf.range(trials + 1.0, dtype=tf.float64)
    wide = eta + tf.zeros_like(y)
    try:
        found = built(user, wide, own, trials + tf.zeros_like(y)).log_prob(y)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ModelError(
            f"the log density of the family {user.name!r} cannot be evaluated: {brief(error)}",
            hint="`trials` is a float64 tensor of the shape of mu.",
        ) from error
    return float(tf.reduce_sum(tf.exp(found)))


def _check_share(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...]) -> None:
    """Predictions are of shares, whatever the trials."""
    try:
        each = [
            np.asarray(built(user, eta, own, count + 0.0 * eta).mean()) / count for count in TRIALS
        ]
    except NotImplementedError:
        return
    if not np.allclose(each, each[0], rtol=TOLERANCE):
        raise ModelError(
            f"the expected share of successes by the family {user.name!r} depends on the number of trials",
            hint="Say what share is to be predicted: mean=lambda mu, ...: ....",
        )


def one_ratio(user: UserFamily) -> bool:
    """Whether, for any trials, successes vary so many times as much as independent ones at every mean alike."""
    eta = tf.constant(PREDICTORS, tf.float64)
    return all(
        np.allclose(found, found[0], rtol=TOLERANCE)
        for own in own_points(user)
        for found in (_ratios(user, eta, own, count + 0.0 * eta) for count in TRIALS)
    )


def variance_ratio(user: UserFamily, trials: Floats, own: tuple[Tensor, ...]) -> Floats:
    """How many times as much successes vary as those of independent trials, where that is one at every mean.

    Args:
      user: the family.
      trials: (n,) their numbers.
      own: own parameters, each a scalar or (n,).
    """
    # No trials have no variance: any ratio will do.
    held = tf.maximum(tf.constant(trials, tf.float64), 1.0)
    return _ratios(user, MIDDLE + 0.0 * held, own, held)


def _ratios(user: UserFamily, eta: Tensor, own: tuple[Tensor, ...], trials: Tensor) -> Floats:
    many = built(user, eta, own, trials).variance()
    one = built(user, eta, own, 1.0 + 0.0 * trials).variance()
    return np.asarray(many / (trials * one))
