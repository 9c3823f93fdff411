"""What rows read of the effects of their levels: those of one level, or of several that share the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmeformula.arrays import Codes, Floats


def effects_of_rows(index: Codes, shares: Floats | None, effects: Floats) -> Floats:
    """(..., n, k) what rows read of effects (..., l, k), of unseen levels zeros.

    Args:
      index: (n,) each row's level, below zero where it is unseen; (n, s) its members.
      shares: (n, s) what these count for; None of one level.
      effects: of the levels.
    Example:
      >>> effects_of_rows(np.array([[0, 1]]), np.array([[0.25, 0.75]]), np.array([[4.0], [8.0]]))
      array([[7.]])
    """
    if (index < 0).any():
        nothing = np.zeros((*effects.shape[:-2], 1, effects.shape[-1]))
        effects, index = np.concatenate([effects, nothing], axis=-2), np.maximum(index, -1)
    if shares is None:
        return np.asarray(effects[..., index, :])
    members = zip(index.T, shares.T, strict=True)
    parts = [share[:, None] * effects[..., levels, :] for levels, share in members]
    return np.asarray(sum(parts[1:], parts[0]))


def added_by(
    values: Floats, predictors: Sequence[int], effects: Floats, num_predictors: int
) -> Floats:
    """(..., K, n) what effects (..., n, k) that rows read add to K linear predictors.

    Args:
      values: (n, k) the columns that they multiply.
      predictors: (k) which predictor each adds to.
      effects: of the rows.
      num_predictors: K.
    """
    if num_predictors == 1:
        return np.asarray(np.einsum("nk,...nk->...n", values, effects))[..., None, :]
    each = values * effects
    found = np.zeros((*each.shape[:-2], num_predictors, each.shape[-2]))
    for column, predictor in enumerate(predictors):
        found[..., predictor, :] += each[..., column]
    return found


def square_shares(index: Codes, shares: Floats) -> Floats:
    """(n,) sums of squares of what each level counts for in a row, of members (n, s) with shares (n, s)."""
    same = index[:, :, None] == index[:, None, :]
    return np.asarray(np.einsum("na,nab,nb->n", shares, same, shares))
