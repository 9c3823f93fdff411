"""Result stage: estimated marginal means and slopes, and contrasts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.result.ddf import METHODS, freedom
from lmeformula.result.freedom import Asymptotic
from lmeformula.result.grid import cells, observed_of
from lmeformula.result.marginal_means import MarginalMeans
from lmeformula.result.mean_scales import link_scale, on_link, on_response
from lmeformula.result.several_predictors import need_one_predictor

# Step of a slope's difference, relative to the range of the variable.
SLOPE_STEP = 1e-3


@kinds.takes(
    specs=kinds.names,
    by=kinds.optional(kinds.names),
    at=kinds.optional(kinds.mapping),
    type=kinds.one_of("link", "response"),
    weights=kinds.one_of("equal", "proportional"),
    var=kinds.optional(kinds.text),
    ddf=kinds.one_of(*METHODS),
)
def emmeans(
    fit: FittedModel,
    specs: str | Sequence[str],
    by: str | Sequence[str] | None = None,
    *,
    at: Mapping[str, object] | None = None,
    type: str = "link",
    weights: str = "equal",
    var: str | None = None,
    ddf: str = "auto",
) -> MarginalMeans:
    """Estimate marginal means: predictions of the population, averaged over a grid of the other variables.

    Factors that are not named are averaged over, numbers held at their mean; random effects are zero. On the
    response scale the inverse link is applied to the average, as R's emmeans does; only mean categories, which
    have no such link, are averages of those of the grid. Standard errors and intervals are those of `predict`:
    of all parameters that enter a mean, thresholds, chances of zero and others of the family among them. On
    the link scale ordered categories are measured from the mean of the thresholds.

    Where a normal response is a function of a column, such as log(y) or sqrt(y), means are of that function,
    and `type="response"` brings them back to the column: not to its means but to its medians, unless the
    function is linear. Means of a positive response are those of `family="lognormal"` or "gamma".

    Args:
      fit: a fitted model.
      specs: the variables, columns of the data, that means are told apart by.
      by: further ones, within whose values contrasts are made.
      at: values of variables, by name: one or several.
      type: "link" for the linear predictor, "response" for the scale of the response.
      weights: "equal" gives all combinations that are averaged over the same weight, "proportional" that of
        their frequency in the data.
      var: estimate the slope in this number instead of the mean; on the linear predictor's scale.
      ddf: degrees of freedom: "auto" (Satterthwaite's for Gaussian fits, none for others), "satterthwaite",
        "kenward-roger" or "none".
    Returns:
      The means, with `.contrasts(...)`, `.to_frame(level)` and `.test()`.
    Raises:
      ModelError: for a variable that is not in the fixed part, an option that is not listed here, or a
        transformed response that cannot be brought back.
    References:
      Searle, Speed, Milliken (1980), The American Statistician 34, 216-221; Lenth, the R package emmeans.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"), reml=True)
      >>> emmeans(fit, "Machine").to_frame()["estimate"].round(3).tolist()
      [52.356, 60.322, 66.272]
    """
    need_one_predictor(
        fit,
        "marginal means",
        "Average predictions: fit.predict(newdata) at the values in question.",
    )
    means = [specs] if isinstance(specs, str) else list(specs)
    groups = () if by is None else (by,) if isinstance(by, str) else tuple(by)
    kept = list(dict.fromkeys([*means, *groups]))
    method = freedom(fit, ddf)
    if var is not None:
        if type == "response":
            raise ModelError(
                "slopes are on the scale of the linear predictor", hint="Leave type='response' out."
            )
        step = _slope_step(fit, var)
        ends = [
            cells(fit, kept, at=at, weights=weights, shift={var: half})
            for half in (-0.5 * step, 0.5 * step)
        ]
        rows = (ends[1].rows - ends[0].rows) / step
        of = link_scale(fit)
        return MarginalMeans(
            fit=fit,
            kind="slope",
            frame=ends[0].frame,
            rows=rows,
            values=rows @ fit.params.beta + (ends[1].offset - ends[0].offset) / step,
            # Relative to what dropped columns are on the grid, over a step relative to the variable's range.
            missed=(ends[1].missed - ends[0].missed) / SLOPE_STEP,
            by=groups,
            is_response=False,
            working=of._replace(mean=of.difference.replace("difference", "slope", 1)),
            freedom=method,
        )
    found = cells(fit, kept, at=at, weights=weights)
    is_response = type == "response"
    made = on_response(fit, found) if is_response else on_link(fit, found)
    return MarginalMeans(
        fit=fit,
        kind="mean",
        frame=found.frame,
        rows=made.rows,
        values=made.values,
        missed=made.missed,
        by=groups,
        is_response=is_response and made.scale.outward is not None,
        working=made.scale,
        freedom=method if made.vcov is None else Asymptotic(made.vcov),
    )


def _slope_step(fit: FittedModel, var: str) -> float:
    found = {column.name: column for column in observed_of(fit).columns}.get(var)
    if found is None or not found.high > found.low:
        numbers = [c.name for c in observed_of(fit).columns if c.high > c.low]
        raise ModelError(
            f"{var!r} is not a number among the fixed effects that a slope could be in",
            hint=f"Numbers: {', '.join(numbers) or 'none'}.",
        )
    return SLOPE_STEP * (found.high - found.low)
