"""Predictions at draws of the random effects, given the data and the estimates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.fit import FittedModel
from lmeformula.prediction.kept_effects import ReForm, kept_terms, some_effects
from lmeformula.prediction.posterior import posterior_draws
from lmeformula.prediction.predictor import linear_predictor, mean_response
from lmeformula.prediction.requested import NEW_LEVELS, requested

# More numbers than this are asked for by mistake more often than not.
MOST_NUMBERS = 2**27


@kinds.takes(
    num_draws=kinds.count,
    seed=kinds.seed,
    re_form=some_effects,
    new_levels=kinds.one_of(*NEW_LEVELS),
)
def predict_draws(
    fit: FittedModel,
    newdata: object = None,
    *,
    num_draws: int = 200,
    seed: int = 0,
    re_form: ReForm = None,
    new_levels: str = "error",
    offset: object = None,
) -> pd.DataFrame:
    """Predict the mean response at each of many draws of the random effects.

    The effects are drawn jointly from their distribution given the data, normal about the posterior means
    with the precision of the rows there (exact for Gaussian fits; about the means over the draws of the
    last E-step for Monte Carlo fits); fixed effects and variances are at their estimates. What is not
    linear in the effects, such as the mean over rows of a probability, is then the mean over draws, not the
    value at the mean effect.

    Args:
      fit: a fitted model with its rows, or one whose effects are drawn level by level.
      newdata: as in `predict`; the fitted rows by default.
      num_draws: how many.
      seed: of the draws.
      re_form: as in `predict`; terms that are left out have effects of zero.
      new_levels: levels that the fit has not seen: "error"; "population", effects of zero; "sample", drawn
        from the distribution, one for each level and draw.
      offset: as in `predict`.
    Returns:
      frame: a row for each row of the data, indexed as predictions are, and columns draw_1, draw_2, ...;
        NaN for rows with a missing value.
    Raises:
      ModelError: for an option that is not one of these, or too many numbers.
      FormulaDataError: as `predict`.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
      >>> draws = predict_draws(fit, {"Days": [9.0], "Subject": ["308"]}, num_draws=2000)
      >>> bool(abs(draws.iloc[0].mean() - fit.fitted()[9]) < 3.0)
      True
    """
    kept = kept_terms(fit, re_form)
    asked = requested(fit, newdata, kept, new_levels, offset=offset)
    asked.check_size(num_draws, MOST_NUMBERS, "num_draws", "draws")
    rows = asked.rows
    fixed = linear_predictor(fit, rows, with_random=False)
    eta = np.repeat(fixed[None], num_draws, axis=0)
    if any(kept):
        drawn = posterior_draws(fit, num_draws, seed).effects
        fresh = np.random.default_rng([seed, 1])
        for block, effects, prior, keep in zip(
            rows.terms, drawn, fit.params.distributions, kept, strict=True
        ):
            if not keep:
                continue
            num_unseen = max(0, -int(block.index.min(initial=0)))
            unseen = prior.draw(fresh, num_draws * num_unseen)
            unseen = unseen.reshape(num_draws, num_unseen, len(block.columns))
            unseen *= new_levels == "sample"
            # Levels that the fit has not seen are -1, -2, ...: the last, the last but one.
            every = np.concatenate([effects, unseen[:, ::-1]], axis=1)
            eta += block.added(every[:, block.index], rows.num_predictors)
    values = asked.spread_out(np.column_stack([mean_response(fit, one) for one in eta]))
    names = [f"draw_{i + 1}" for i in range(num_draws)]
    return pd.DataFrame(values, index=asked.index, columns=names)
