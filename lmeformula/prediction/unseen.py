"""Effects of levels that a fit has not seen, drawn so that a level's are the same whatever others there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lmeformula.arrays import Codes, Floats
from lmeformula.covariance.prior import EffectDistribution
from lmeformula.design.design import TermBlock

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


def with_drawn_levels(
    block: TermBlock,
    effects: Floats,
    prior: EffectDistribution,
    sequences: Sequence[np.random.SeedSequence],
    num_draws: int = 1,
) -> tuple[TermBlock, Floats]:
    """The levels that rows of a term have and a fit has not seen, beside the others, with drawn effects.

    Args:
      block: of the rows.
      effects: (s * num_draws, l, k) of the fit's levels.
      prior, sequences, num_draws: as of `unseen_effects`.
    Returns:
      The term, none of whose levels is unseen, and the effects (s * num_draws, l + u, k).
    """
    unseen = np.unique(block.index[block.index < 0])
    if not len(unseen):
        return block, effects
    drawn = unseen_effects(unseen, prior, sequences, num_draws)
    places = len(block.levels) + np.searchsorted(unseen, block.index)
    index = np.where(block.index < 0, places, block.index).astype(np.int32)
    return replace(block, index=index), np.concatenate([effects, drawn], axis=1)
