"""Effects of levels that a fit has not seen, drawn so that a level's are the same whatever others there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmeformula.arrays import Codes, Floats
from lmeformula.covariance.prior import EffectDistribution

# Levels that are drawn from one generator.
TOGETHER = 64


def unseen_effects(
    index: Codes,
    prior: EffectDistribution,
    sequences: Sequence[np.random.SeedSequence],
    num_draws: int = 1,
) -> Floats:
    """Draw effects of unseen levels from their distribution.

    Args:
      index: (n,) the level of each row: -1 for the first that is unseen, -2 for the second, ....
      prior: of a level's effects.
      sequences: (s,) seeds, each of `num_draws` draws.
      num_draws: of each.
    Returns:
      (s * num_draws, n, k) the effects of the rows' levels.
    Example:
      >>> prior = EffectDistribution(np.eye(1), np.inf)
      >>> seeds = [np.random.SeedSequence(1)]
      >>> few, many = (unseen_effects(np.array(at), prior, seeds) for at in ([-70], [-3, -70, -500]))
      >>> bool(few[0, 0, 0] == many[0, 1, 0])
      True
    """
    number = -1 - np.asarray(index, np.int64)
    found = np.empty((len(sequences) * num_draws, len(number), len(prior.scale)))
    groups, group_of = np.unique(number // TOGETHER, return_inverse=True)
    of_group = np.argsort(group_of, kind="stable")
    ends = np.searchsorted(group_of[of_group], np.arange(len(groups) + 1))
    for place, group in enumerate(groups.tolist()):
        rows = of_group[ends[place] : ends[place + 1]]
        randoms = [
            np.random.default_rng(
                np.random.SeedSequence(one.entropy, spawn_key=(*one.spawn_key, group))
            )
            for one in sequences
        ]
        drawn = prior.draws(randoms, num_draws * TOGETHER)
        drawn = drawn.reshape(len(found), TOGETHER, -1)
        found[:, rows] = drawn[:, number[rows] % TOGETHER]
    return found
