"""Result stage: confidence and prediction intervals of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.design.design import Design, NewRows
from lmeformula.errors import ModelError
from lmeformula.result.distribution import draw_rows, response_arrays
from lmeformula.result.equations import equations
from lmeformula.result.intervals import check_level, cutoff
from lmeformula.result.predict import (
    check_levels_are_known,
    kept_terms,
    linear_predictor,
    mean_response,
    only_terms,
)
from lmeformula.result.predictor_intervals import (
    link_intervals,
    predictor_covariances,
    response_intervals,
)

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]

SOURCES = ("parameters", "effects", "residual")
DEFAULTS = {"confidence": ("parameters", "effects"), "prediction": SOURCES}
# Numbers simulated at a time.
CHUNK = 2_000_000


def predict_interval(
    fit: Fit,
    newdata: object = None,
    *,
    interval: str = "confidence",
    level: float = 0.95,
    kind: str = "response",
    re_form: str | None = None,
    new_levels: str = "error",
    offset: object = None,
    include: Sequence[str] | None = None,
    seed: int = 0,
    num_draws: int = 4000,
) -> pd.DataFrame:
    """Predict with intervals.

    "confidence" is for the mean of the response of a row, "prediction" for a response. Fixed and random effects
    are jointly normal about their estimates (exactly so for Gaussian models with known variances); that the
    variances are estimated is left out of account. Gaussian intervals have normal quantiles. Confidence
    intervals of other families are those of the linear predictor, brought to the response by the inverse link.
    Their prediction intervals are quantiles of simulated responses: of linear predictors with their
    uncertainty, and responses of the family given each. So are all intervals on the scale of the response of
    a model with several linear predictors; on their own scale, `kind="link"`, each predictor has three columns.

    Args:
      fit: a fitted model.
      newdata: as in `predict`; the fitted rows by default.
      interval: "confidence" or "prediction".
      level: coverage.
      kind: "response" or, for confidence, also "link".
      re_form: None predicts with the effects of each row's levels; "NA" without random effects; a formula
        with some of the terms, such as "~ (1 | g)", with those, and the uncertainty of those.
      new_levels: levels that the fit has not seen: "error"; "population", an effect of zero, without
        uncertainty; "sample", drawn from the distribution of effects.
      offset: as in `predict`.
      include: the sources of uncertainty: any of "parameters" (fixed effects), "effects" (random effects, given
        the data) and "residual". By default the first two for confidence, all for prediction.
      seed: of simulated responses.
      num_draws: how many responses are simulated for a row.
    Returns:
      frame: estimate, lower, upper; one row for each of `newdata`, NaN where it misses a value. Successes out
        of trials are proportions, ordered categories their number from 1.
    Raises:
      FormulaDataError: as `predict`.
      ModelError: for an option that is not listed here.
    References:
      Henderson (1975), Biometrics 31, 423-447, for the variance of prediction errors.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"), reml=True)
      >>> new = {"Batch": ["G"]}
      >>> predict_interval(fit, new, interval="prediction", new_levels="sample").round(1).values.tolist()
      [[1527.5, 1394.7, 1660.3]]
    """
    _check("interval", interval, tuple(DEFAULTS))
    _check("kind", kind, ("response", "link"))
    _check("new_levels", new_levels, ("error", "population", "sample"))
    check_level(level)
    sources = DEFAULTS[interval] if include is None else tuple(include)
    for source in sources:
        _check("include", source, SOURCES)
    has_residual = "residual" in sources
    is_gaussian = fit.model.family.name == "gaussian"
    if has_residual and kind == "link" and not is_gaussian:
        raise ModelError(
            "a response has no value on the scale of the linear predictor",
            hint='Use kind="response", or leave "residual" out of `include`.',
        )
    design = fit.model.design
    kept = kept_terms(fit, re_form)
    with_random = any(kept)
    rows: Design | NewRows
    index: pd.Index
    if newdata is None:
        places, num_rows, index = np.arange(design.n), design.n, pd.Index(design.rows)
        rows = only_terms(design, kept) if with_random else _without_terms(design)
    else:
        needs_trials = has_residual and fit.model.family.has_trials
        new = design.rebuild(newdata, groups=with_random, response=needs_trials, offset=offset)
        if new_levels == "error":
            check_levels_are_known(new, kept)
        rows, places, num_rows = only_terms(new, kept), new.rows, new.num_rows
        index = newdata.index if isinstance(newdata, pd.DataFrame) else pd.RangeIndex(num_rows)
    eta = linear_predictor(fit, rows, with_random=with_random)
    is_uncertain = bool(set(sources) & {"parameters", "effects"})
    solved = equations(fit) if is_uncertain else None

    def variances_of(rows: Design | NewRows) -> Floats:
        if solved is None:
            return np.zeros(len(rows.offset))
        with one_blas_thread():
            return solved.variances(
                rows,
                parameters="parameters" in sources,
                effects="effects" in sources and with_random,
                new_levels="effects" in sources and new_levels == "sample",
            )

    if fit.model.family.predictors:
        covariances = predictor_covariances(rows, variances_of, len(eta))
        if kind == "link":
            frame = link_intervals(fit, eta, covariances, level)
        else:
            how: dict[str, Any] = {
                "has_residual": has_residual,
                "seed": seed,
                "num_draws": num_draws,
            }
            frame = response_intervals(fit, rows, eta, covariances, level, **how)
        whole = np.full((num_rows, frame.shape[1]), np.nan)
        whole[places] = frame
        return pd.DataFrame(whole, index=index, columns=frame.columns)
    variances = variances_of(rows)
    if is_gaussian or not has_residual:
        if has_residual:
            assert fit.params.sigma is not None
            weights = rows.weights if newdata is None else None
            variances = variances + fit.params.sigma**2 / (1.0 if weights is None else weights)
        half = cutoff(level) * np.sqrt(variances)
        found = [eta, eta - half, eta + half]
        if kind == "response":
            found = [mean_response(fit, part) for part in found]
            found[1:] = [np.minimum(found[1], found[2]), np.maximum(found[1], found[2])]
    else:
        low, high = _simulated(fit, rows, eta, np.sqrt(variances), level, seed, num_draws)
        found = [mean_response(fit, eta), low, high]
    values = np.full((num_rows, 3), np.nan)
    values[places] = np.column_stack(found)
    return pd.DataFrame(values, index=index, columns=["estimate", "lower", "upper"])


def _without_terms(design: Design) -> NewRows:
    return NewRows(
        design.X,
        design.names,
        (),
        design.offset,
        response=design.response,
        weights=design.weights,
        column_predictors=design.column_predictors,
        further_offsets=design.further_offsets,
    )


def _simulated(
    fit: Fit,
    rows: Design | NewRows,
    eta: Floats,
    sds: Floats,
    level: float,
    seed: int,
    num_draws: int,
) -> tuple[Floats, Floats]:
    """(n,) lower and upper quantiles of simulated responses."""
    family = fit.model.family
    response = response_arrays(fit, rows)
    trials = response[1] if family.has_trials else np.ones(len(eta))
    first = 1.0 if family.categories is not None else 0.0
    tails = [0.5 - level / 2, 0.5 + level / 2]
    found = np.empty((2, len(eta)))
    size = max(CHUNK // num_draws, 1)
    for number, start in enumerate(range(0, len(eta), size)):
        part = slice(start, start + size)
        of_noise, of_rows = np.random.SeedSequence([seed, number]).spawn(2)
        noise = np.random.default_rng(of_noise).standard_normal((num_draws, len(eta[part])))
        rates = eta[part] + sds[part] * noise
        draws = draw_rows(fit, rates, tuple(array[part] for array in response), of_rows)
        # Quantiles that are values of the response, which may be whole numbers.
        shares = draws / trials[part] + first
        found[:, part] = np.quantile(shares, tails, axis=0, method="inverted_cdf")
    return found[0], found[1]


def _check(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        choices = ", ".join(map(repr, allowed))
        raise ModelError(f"{name} is {value!r}", hint=f"Choose one of {choices}.")
