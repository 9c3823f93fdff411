"""A fit of a changed formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmeformula.arguments import kinds
from lmeformula.arguments.kept import KEPT, Kept, given, or_kept, unless_kept
from lmeformula.design.build import design
from lmeformula.design.frame import open_frame
from lmeformula.design.labels import label
from lmeformula.design.related import relations_of
from lmeformula.em.types import Options
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.estimation.dispatch import METHODS, estimate
from lmeformula.estimation.solver import SOLVERS
from lmeformula.family import family as find_family
from lmeformula.family.predicted import predicted_of
from lmeformula.family.record import Family
from lmeformula.fit import FittedModel
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import FIRST
from lmeformula.formula.several_formulas import formulas_of
from lmeformula.formula.update import update_formula
from lmeformula.model.compile import compile, with_priors_left
from lmeformula.model.priors import check_given
from lmeformula.prediction.named_predictor import name_in_formulas

if TYPE_CHECKING:
    from lmeformula.em.progress import Progress


@kinds.takes(
    formula=kinds.texts,
    contrasts=unless_kept(kinds.optional(kinds.mapping)),
    covariances=unless_kept(kinds.optional(kinds.mapping)),
    priors=unless_kept(check_given),
    functions=unless_kept(kinds.optional(kinds.functions)),
    method=unless_kept(kinds.one_of(*METHODS)),
    reml=unless_kept(kinds.flag),
    solver=kinds.one_of(*SOLVERS),
    seed=kinds.seed,
    progress=kinds.optional(kinds.display),
    options=kinds.optional(kinds.instance(Options, "Give lf.em.Options(...).")),
)
def update(
    fit: FittedModel,
    formula: str | Mapping[str, str | None],
    data: Any = None,
    *,
    family: str | Family | Kept = KEPT,
    sigma: float | Kept | None = KEPT,
    contrasts: Mapping[str, str] | Kept | None = KEPT,
    functions: Mapping[str, Callable[..., Any]] | Kept | None = KEPT,
    weights: Any = KEPT,
    offset: Any = KEPT,
    frequency: Any = KEPT,
    covariances: Mapping[str, Any] | Kept = KEPT,
    dtype: str | Kept = KEPT,
    priors: Mapping[str, Any] | Kept | None = KEPT,
    method: str | Kept = KEPT,
    reml: bool | Kept = KEPT,
    solver: str = "auto",
    seed: int = 0,
    options: Options | None = None,
    progress: Progress | None = None,
) -> FittedModel:
    """Change the formula of a fit, and fit again: same family, method, likelihood and fixed sigma.

    Args:
      fit: a fitted model.
      formula: the change; "." stands for the response on the left, for all terms on the right, as in
        "~ . - x", "log(.) ~ .", "~ . - (1 | g) + (x | g)". Of a model with several predictors it is that of
        the first, the one with the response; a mapping changes others, {"sigma": "~ . - x"}, gives one to a
        parameter that has none, {"sigma": "~ x"}, or takes one away, {"sigma": None}, and keeps the rest. A
        label (1 |ID| g) whose other terms are gone goes too. Unordered categories have one formula.
      data: what to fit it to; by default the data that the fit was made of, as they are now. A fit that was
        loaded from a file has none.
      family, sigma, dtype: as in `lf.fit`; those of the fit unless they are given.
      priors: as in `lf.fit`; those of the fit, but for parameters that the changed model does not have.
      contrasts: coding of categorical variables by name; those of the fit for the variables that are left.
      functions: functions that the formula may call; those of the fit.
      weights, offset, frequency: the name of a column, or an array for data with as many rows; those of the
        fit.
      covariances: known covariances of levels; those of the fit for the terms that are left.
      method: that of the fit, but Laplace where that is exact and the changed model has no exact likelihood.
      reml: as the fit.
      solver: "auto", "direct" or "iterative".
      seed: of Monte Carlo fits.
      options: of the Monte Carlo EM engine.
      progress: shown the iterations of the engine.
    Returns:
      The new fit.
    Raises:
      FormulaSyntaxError: if the result is no formula, or a formula is taken away that is not there.
      FormulaDataError: if the data does not fit it.
      ModelError: if it cannot be fitted so, or there are no data.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("sleepstudy")
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", data)
      >>> str(update(fit, "~ . - (Days | Subject) + (1 | Subject)").formula)
      'Reaction ~ 1 + Days + (1 | Subject)'
    """
    if data is None:
        data = fit.model.design.given.data
    if data is None:
        raise ModelError(
            "this fit does not have its data: it was loaded from a file, or made of arrays",
            hint="Give them: fit.update(formula, data).",
        )
    rule = find_family(or_kept(family, fit.model.family.base))
    changes = {FIRST: formula} if isinstance(formula, str) else formula
    for name, change in changes.items():
        if name != FIRST and change is not None:
            predicted_of(rule, name)  # or it says which there are
    changed = update_formula(
        fit.formula,
        {name_in_formulas(fit, name): change for name, change in changes.items()},
        # Labels (1 |ID| g) may link the categories of the response.
        closed=rule.expand is None,
    )
    recipe = fit.model.design.recipe
    if recipe is not None:
        functions = or_kept(functions, recipe.functions or None)
        if weights is KEPT:
            weights = _again(fit, "weights", recipe.weights, data)
        if offset is KEPT:
            offset = _again(fit, "offset", recipe.offset, data)
        if frequency is KEPT:
            frequency = _again(fit, "frequency", recipe.frequency, data)
    made = given(functions=functions, weights=weights, offset=offset, frequency=frequency)
    model = compile(
        design(
            changed,
            data,
            contrasts=or_kept(contrasts, _contrasts(fit, changed)),
            covariances=or_kept(covariances, relations_of(fit.model.design, changed)),
            **made,
        ),
        rule,
        sigma=or_kept(sigma, fit.model.sigma),
        dtype=or_kept(dtype, fit.model.dtype),
        priors=None if priors is KEPT else priors,
    )
    if priors is KEPT:
        model = with_priors_left(model, fit.model.priors.chosen)
    is_normal = model.family.is_normal
    before = fit.method
    if not is_normal and fit.draws is None and not (fit.is_drawn or fit.has_modes):
        # Other effects may be out of reach for what was exact.
        before = "laplace" if fit.is_exact else "auto"
    if fit.reml and reml is KEPT and not is_normal:
        raise ModelError(
            f"the fit is by the restricted likelihood, which a {model.family.name} model does not have",
            hint="Give reml=False, and compare fits by maximum likelihood.",
        )
    return estimate(
        model,
        method=or_kept(method, before),
        reml=or_kept(reml, fit.reml),
        solver=solver,
        seed=seed,
        options=options,
        effort=None if fit.draws is None else fit.draws.effort,
        progress=progress,
    )


def _contrasts(fit: FittedModel, changed: Formula) -> dict[str, Any]:
    """How factors of the fit were coded, of those that a changed formula has."""
    left = {
        label(variable)
        for _, part in formulas_of(changed)
        for terms in (part.fixed.sum, *(term.columns for term in part.random))
        for term in terms.terms
        for variable in term.variables
    }
    design = fit.model.design
    recipes = [each.design.recipe for each in design.predictors]
    factors = [pair for each in recipes if each is not None for pair in each.factors.items()]
    return {
        label(variable): factor.coding
        for variable, factor in factors
        if factor.coding is not None and label(variable) in left
    }


def _again(fit: FittedModel, name: str, remembered: str | None, data: Any) -> Any:
    """The weights, the offset or the frequency of a fit, for data of as many rows.

    Raises:
      FormulaDataError: if an array was given and is not at hand, or does not fit these data.
    """
    if remembered is not None:
        return remembered or None
    given = getattr(fit.model.design.given, name)
    num_rows = open_frame(data, lambda _: ()).num_rows
    if given is None or len(given) != num_rows:
        has = "is not saved with the fit" if given is None else f"has {len(given):,} values"
        raise FormulaDataError(
            f"the fit was given the {name} as an array, which {has}, and these data have {num_rows:,} rows",
            hint=f"Give the array for these data, {name}=..., or {name}=None to do without.",
        )
    return given
