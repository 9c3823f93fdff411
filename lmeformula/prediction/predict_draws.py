"""Predictions at draws of the random effects, given the data and the estimates."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.fit import FittedModel
from lmeformula.prediction.answers import Target, answered
from lmeformula.prediction.kept_effects import ReForm, kept_terms, some_effects
from lmeformula.prediction.over_draws import predictions
from lmeformula.prediction.posterior import posterior_draws
from lmeformula.prediction.predictor import linear_predictor, mean_response
from lmeformula.prediction.requested import NEW_LEVELS, Requested, Wanted, requested
from lmeformula.prediction.unseen import with_drawn_levels

# More numbers than this are asked for by mistake more often than not.
MOST_NUMBERS = 2**27


@kinds.takes(
    num_draws=kinds.count,
    seed=kinds.seed,
    re_form=some_effects,
    new_levels=kinds.one_of(*NEW_LEVELS),
    to=kinds.optional(kinds.path),
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
    to: Target = None,
) -> Any:
    """Predict the mean response at each of many draws of the random effects.

    The effects are drawn jointly from their distribution given the data, normal about the posterior means
    with the precision of the rows there (exact for Gaussian fits; about the means over the draws of the
    last E-step for Monte Carlo fits); fixed effects and variances are at their estimates. What is not
    linear in the effects, such as the mean over rows of a probability, is then the mean over draws, not the
    value at the mean effect. Of a fit by method="nuts" they are draws of all parameters and effects, evenly
    spread over those that it has, and no more than these.

    Args:
      fit: a fitted model with its rows, or one whose effects are drawn level by level.
      newdata: as in `predict`; the fitted rows by default.
      num_draws: how many.
      seed: of the draws.
      re_form: as in `predict`; terms that are left out have effects of zero.
      new_levels: levels that the fit has not seen: "error"; "population", effects of zero; "sample", drawn
        from the distribution, one for each level and draw.
      offset: as in `predict`.
      to: a Parquet file that the answer is written to, as in `predict`.
    Returns:
      frame: a row for each row of the data, indexed as predictions are, and columns draw_1, draw_2, ...;
        NaN for rows with a missing value. With `to` the file, as there.
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
    # For all blocks, once the first has been read.
    drawn = functools.cache(lambda: posterior_draws(fit, num_draws, seed).effects)

    def work(asked: Requested) -> pd.DataFrame:
        asked.check_size(num_draws, MOST_NUMBERS, "num_draws", "draws")
        rows, names = asked.rows, [f"draw_{i + 1}" for i in range(num_draws)]
        if fit.draws is not None:
            each = predictions(
                fit,
                "response",
                rows,
                kept,
                samples=new_levels == "sample",
                seed=seed,
                count=num_draws,
            )
            values = asked.spread_out(np.column_stack([means[:, 0] for means in each]))
            return pd.DataFrame(values, index=asked.index, columns=names[: values.shape[1]])
        eta = np.repeat(linear_predictor(fit, rows, with_random=False)[None], num_draws, axis=0)
        # Where no term is kept none was built.
        for place, block in enumerate(rows.terms):
            if not kept[place]:
                continue
            effects = drawn()[place]
            if new_levels == "sample":
                prior = fit.params.distributions[place]
                seeds = [np.random.SeedSequence([seed, 1, place])]
                block, effects = with_drawn_levels(block, effects, prior, seeds, num_draws)
            eta += block.added(block.of_rows(effects), rows.num_predictors)
        values = asked.spread_out(np.column_stack([mean_response(fit, one) for one in eta]))
        return pd.DataFrame(values, index=asked.index, columns=names)

    blocks = requested(fit, newdata, Wanted(kept, new_levels, offset=offset))
    return answered(blocks, work, newdata, to)
