"""Log densities of the fitted rows at draws of parameters and effects, many draws at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family import log_density
from lmeformula.fit import FittedModel
from lmeformula.prediction.predictor import add_effects, linear_predictor

# Numbers that are worked out at a time.
CHUNK = 2**21


def row_densities(fit: FittedModel, psi: Floats, effects: Sequence[Floats]) -> Floats:
    """(s, n) log densities of the rows at each of s draws.

    Args:
      fit: of the model, with its rows.
      psi: (s, d) unconstrained parameters, as the model's space has them.
      effects: (s, l, k) of each term, on the scale of the predictor.
    """
    import tensorflow as tf

    design, space, family = fit.model.design, fit.model.space, fit.model.family
    response = tuple(tf.constant(array, tf.float64) for array in family.response(design))
    fixed = linear_predictor(fit, design, with_random=False)
    of_columns = np.eye(design.num_predictors)[:, list(design.column_predictors)]
    found = np.empty((len(psi), design.n))
    size = max(1, CHUNK // max(design.n, 1))
    for start in range(0, len(psi), size):
        part = slice(start, start + size)
        moved = psi[part, : space.num_fixed] - fit.params.beta
        eta = fixed + (of_columns * moved[:, None, :]) @ design.X.T
        add_effects(eta, design.terms, [each[part] for each in effects])
        own = np.array([space.family_values(each) for each in psi[part]]).reshape(len(moved), -1)
        # The density has the predictors and then the rows in front.
        turned = tf.constant(family.as_taken(np.moveaxis(eta, 0, -1), 0))
        values = tuple(tf.constant(value, tf.float64) for value in own.T)
        found[part] = np.asarray(log_density(family, turned, response, values)).T
    return found
