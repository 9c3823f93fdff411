"""The one-line fit, the four stages composed; and a fit that comes back from a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lmeformula.arguments import kinds
from lmeformula.arguments.spelled import said_otherwise, spelled
from lmeformula.checking.ending import how_it_ended
from lmeformula.checkpoint.folder import opened
from lmeformula.design import design as build_design
from lmeformula.design.again import with_rows
from lmeformula.em.progress import Later, Progress
from lmeformula.errors import ConvergenceError, ModelError
from lmeformula.estimation import estimate as estimate_quietly
from lmeformula.estimation.asked import EFFORT, options_of
from lmeformula.face import Fit
from lmeformula.family import family as find_family
from lmeformula.formula import parse
from lmeformula.formula.formula import Formula
from lmeformula.model import Family, Model
from lmeformula.model import compile as compile_model
from lmeformula.store.archive import MAX_BYTES
from lmeformula.watch import shown

if TYPE_CHECKING:
    from os import PathLike

    from lmeformula.store.recipe import Functions


@kinds.takes(model=kinds.instance(Model, "Give what lf.compile returns."), **EFFORT)
def estimate(
    model: Model,
    *,
    method: str = "auto",
    seed: int = 0,
    reml: bool = False,
    solver: str = "auto",
    tolerance: float = 0.01,
    num_draws: int | None = None,
    max_draws: int = 50_000,
    max_iterations: int = 200,
    num_chains: int | None = None,
    num_warmup: int | None = None,
    target_acceptance: float | None = None,
    max_tree_depth: int | None = None,
    surrogate: str | None = None,
    importance: bool | None = None,
    progress: bool | Progress = True,
    strict: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> Fit:
    """Estimate a model by maximum likelihood.

    Args:
      model: from `lmeformula.compile`.
      method: "exact" (Gaussian models), "quadrature" (other models of one grouping factor with one or two
        effects a level, exact to its numerical error), "laplace" (the Laplace approximation), "mcem" (Monte
        Carlo EM), or "auto": exact or by quadrature where that is possible, otherwise, or where an option of
        its is given, mcem. "nuts" draws from the posterior distribution, by the no-U-turn sampler: the priors
        are those that the model has, and for the rest weakly informative ones, which `fit.model.priors` shows.
        "vi" draws from a normal distribution that is fitted to that one: faster, and an approximation.
      seed: of all random numbers; the same seed, data and machine give the same bits.
      reml: maximise the restricted likelihood, as lme4 does by default (exact only).
      solver: "direct" factors a dense block of all effects but those of the largest term; "iterative" never
        forms it, and gives Monte Carlo errors with its answers, exact ones too; "auto" takes the second where
        the first would need half of the memory, or many times as long.
      tolerance: mcem and the iterative solver stop when every Monte Carlo error is below this fraction of the
        parameter's standard error.
      num_draws: draws of the effects per chain in the first iteration of mcem, 20 by default; they grow as
        needed. Of nuts and vi the draws of each chain that are kept, 1,000 by default.
      max_draws: most draws per chain in one iteration.
      max_iterations: most iterations of mcem.
      num_chains: chains that run side by side: 2 of mcem, 4 of nuts and vi.
      num_warmup: draws of each chain of nuts before those that are kept, by which it learns; 1,000 by default.
      target_acceptance: acceptance probability that the steps of nuts are tuned for, 0.8 by default; a higher
        one makes shorter steps, which diverge less.
      max_tree_depth: a trajectory of nuts has at most 2 to this many steps; 10 by default.
      surrogate: what vi fits to the posterior distribution, in coordinates where effects follow the parameters
        and these are bent: "full_rank", a normal distribution with all covariances (default), or "factored",
        without any.
      importance: draw the draws of vi again by their importance ratios: nearer to the posterior distribution
        where Pareto's k is below 0.7, and fewer effective ones. False by default.
      progress: show how far the fit is, on a terminal or in a notebook, once it has taken two seconds; nothing
        elsewhere, or with False. Or an object of your own with start(names), update(iteration) and stop(),
        which mcem tells of its iterations. The environment variable LMEFORMULA_PROGRESS=0 turns all displays
        off, those of the bootstrap, cross-validation and the rest as well.
      strict: raise ConvergenceError where the outcome is not a converged one.
      checkpoint: a folder, which is made, for what a long fit works out: killed at any moment, it goes on from
        there when it is started again by the same call, and ends at the same bits. Each fit needs one of its
        own, and removes it when it ends; one that Ctrl-C has stopped leaves it.
    Returns:
      The fit; `fit.outcome` says how it ended. Ctrl-C during mcem gives the estimates of the last iteration.
    Raises:
      ModelError: for an unknown method or an option out of range.
      CheckpointError: if the checkpoint is of another fit, damaged, or in use by another process.
      OSError: if its folder cannot be made, or written to.
      ConvergenceError: with `strict`; its `.fit` holds the fit.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("dyestuff")
      >>> model = lf.compile(lf.design("Yield ~ 1 + (1|Batch)", data))
      >>> float(lf.estimate(model).fixef["Intercept"].round(1))
      1527.5
    """
    of_nuts = {
        "num_warmup": num_warmup,
        "target_acceptance": target_acceptance,
        "max_tree_depth": max_tree_depth,
    }
    options, effort = options_of(
        method,
        {"num_draws": num_draws, "num_chains": num_chains},
        {"tolerance": tolerance, "max_draws": max_draws, "max_iterations": max_iterations},
        of_nuts,
        {"surrogate": surrogate, "importance": importance},
    )
    with opened(checkpoint) as folder, shown(progress is not False):
        found = estimate_quietly(
            model,
            method=method,
            seed=seed,
            reml=reml,
            solver=solver,
            options=options,
            progress=display_of(progress, tolerance),
            checkpoint=folder,
            effort=effort,
        )
    fitted = Fit.of(found)
    if strict and not fitted.converged:
        error = ConvergenceError(how_it_ended(fitted), hint="The fit is on this error's .fit.")
        error.fit = fitted
        raise error
    return fitted


def display_of(progress: bool | Progress, tolerance: float) -> Progress | None:
    """What shows how a fit goes: None for False, a Progress of the caller's as it is.

    Args:
      progress: True for a display that is chosen when there is something to show.
      tolerance: the Monte Carlo error, in standard errors, at which the run may stop.
    """

    def choose() -> Progress:
        from lmeformula.views.live import progress_display

        return progress_display(tolerance)

    if isinstance(progress, bool):
        return Later(choose) if progress else None
    kinds.display("progress", progress)
    return progress


# Arguments of lme4, glmmTMB and brms that are said otherwise here.
FORMULAS = 'Give a formula for each parameter, {{"mu": "y ~ x + (1 | g)", "{}": "~ x"}}{}.'
ELSEWHERE = {
    "ziformula": FORMULAS.format("zi", ', with a family such as "zero_inflated_poisson"'),
    "dispformula": FORMULAS.format(
        "sigma", '; "~ 0" for no residual, and the family says what the parameter is called'
    ),
    "nAGQ": 'Use method="laplace" for nAGQ = 1, method="quadrature" for as many as are needed.',
    "subset": 'Give those rows alone as the data, data[data["x"] > 0].',
    "na_action": "Rows with missing values are left out, and counted in the summary.",
    "control": "Its parts are arguments themselves: tolerance, max_iterations, solver.",
    "prior": 'Give priors by what they are of: priors={"b": "normal(0, 2.5)", "sd(g)": "gamma(2.5, 0)"}.',
    "cov_prior": 'Give priors={"cov": "wishart()"}, or {"sd": "gamma(2.5, 0)"}.',
    "fixef_prior": 'Give priors={"b": "normal(0, 2.5)"}; "Intercept" has one of its own.',
    "resid_prior": 'Give priors={"sigma": "inverse_gamma(2, 1)"}.',
    "data2": 'Known covariances are given by name: covariances={{"A": A}}, with (1 | gr(g, cov = A)).',
    "cov_ranef": 'Write (1 | gr(g, cov = A)) in the formula, and give covariances={{"A": A}}.',
    "pedigree": 'Write (1 | gr(animal, cov = A)), and give covariances={{"A": lf.pedigree(frame)}}.',
    "ginverse": 'Write (1 | gr(g, cov = A)), and give covariances={{"A": lf.precision(Q, levels)}}.',
    "correlation": 'Write it as a term with the levels of time, and "~ 0" for sigma: us(0 + factor(t) | g) for '
    "corSymm(form = ~ t | g), homcs for corCompSymm, ar1 for corAR1; us, cs, hetar1 with varIdent as well.",
    "autocor": 'Write it as a term with the levels of time, ar1(0 + factor(t) | g), and "~ 0" for sigma.',
    "start": "A fit finds its own start.",
    "verbose": "progress=True shows how a fit goes.",
}


@spelled(REML="reml", weight="weights", covariance="covariances")
@said_otherwise(**ELSEWHERE)
@kinds.takes(**EFFORT)
def fit(
    formula: str | Formula | Mapping[str, str | Formula] | tuple[str, ...] | list[str],
    data: Any,
    family: str | Family = "gaussian",
    *,
    sigma: float | None = None,
    contrasts: Mapping[str, str] | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    weights: Any = None,
    offset: Any = None,
    frequency: Any = None,
    covariances: Mapping[str, Any] | None = None,
    merge: bool = False,
    cluster: Any = None,
    dtype: str = "float64",
    priors: Mapping[str, Any] | None = None,
    double_bar: str = "split",
    method: str = "auto",
    seed: int = 0,
    reml: bool = False,
    solver: str = "auto",
    tolerance: float = 0.01,
    num_draws: int | None = None,
    max_draws: int = 50_000,
    max_iterations: int = 200,
    num_chains: int | None = None,
    num_warmup: int | None = None,
    target_acceptance: float | None = None,
    max_tree_depth: int | None = None,
    surrogate: str | None = None,
    importance: bool | None = None,
    progress: bool | Progress = True,
    strict: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> Fit:
    """Fit a mixed model: parse, design, compile and estimate in one call.

    Args:
      formula: in lme4's syntax, such as "y ~ x + (1 + x | g) + (1 | h)"; with formulas for other parameters of
        the family too, {"mu": "y ~ x + (1 | g)", "sigma": "~ x + (1 | g)"} or ("y ~ x + (1 | g)", "sigma ~ x").
      data: a pandas or polars data frame, a pyarrow table, a dict of arrays; or where the rows are: the path
        of a Parquet or a CSV file, a pattern of such paths, a DuckDB relation, a polars LazyFrame, an Ibis
        table, a PySpark or a Dask data frame, a pyarrow Dataset. Only the columns of the formula are read.
      family: of the response: "gaussian", "bernoulli", "binomial", "poisson", "cumulative", "nbinom2",
        "student", ..., all in the documentation; with another link in parentheses, "cumulative(probit)";
        or one of your own, made by `lmeformula.Family`.
      sigma: fix the residual standard deviation at this; estimated by default. With 0, as with the formula
        {"mu": ..., "sigma": "~ 0"}, there is no residual: a term with an effect for each row, such as
        us(0 + visit | subject), is the covariance of the responses.
      contrasts: coding of categorical variables by name, such as {"a": "sum"}; treatment by default.
      functions: functions that the formula may call besides the built-in ones, by name.
      weights: prior weights: a column name or an array, a value for each row of `data`.
      offset: a further offset: a column name or an array.
      frequency: how many identical rows each row of `data` stands for, such as a table of counts has them: a
        column name or an array of whole numbers; rows of 0 are left out. The fit is that of the repeated rows,
        whose number is `nobs`; what is of single rows, such as residuals, is of the rows of `data`, and
        `fit.by_observation` is the same fit with the rows repeated.
      covariances: known covariances between levels, which the formula names as in (1 | gr(animal, cov = A)), up
        to a scale that is estimated: {"A": matrix}, a data frame with the levels as its index and columns, a
        pair (matrix, levels), `lf.precision(Q, levels)` of a sparse inverse, or `lf.pedigree(frame)`.
      merge: of rows that are elsewhere, such as in files, put identical ones together, as one with a frequency:
        the fit is the same, at the cost of those that are distinct. Where they are hardly alike they are left
        as they are; `fit.diagnostics` says which it was.
      cluster: a distributed.Client, with whose workers the rows stay while this process has parameters and
        effects: of Gaussian models, and of others by method="laplace". A Dask data frame stays with the current
        client by default; False reads it here.
      dtype: "float64" or "float32" of Monte Carlo fits.
      priors: of parameters, each by what it is of: estimates are the posterior mode then, where likelihood
        times priors is highest, every parameter on its natural scale. "b" is all coefficients but intercepts,
        "x" or "b(x)" one of them, "Intercept"; "sd" all standard deviations, "sd(g)" those of a term,
        "sd(g:x)" one; "cor(g)" a correlation matrix, "cov(g)" a whole covariance; "sigma", or another own
        parameter by its name; "sd(g)/sigma" and "cov(g)/sigma^2" are relative to the residual's. Priors are
        texts: "normal(0, 2.5)", "student(3, 0, 2.5)", "cauchy(0, 2.5)"; "half_normal(1)",
        "half_student(3, 0, 2.5)", "half_cauchy(1)", "exponential(1)", "gamma(2.5, 0)",
        "inverse_gamma(2, 1)", "lognormal(0, 1)"; "beta(2, 2)"; "lkj(2)";
        "wishart()", "inverse_wishart(5, 1)"; records of `lmeformula.priors`; or distributions of TFP.
      double_bar: what `||` means, as in `parse`.
      method: "exact", "quadrature", "laplace", "mcem", "nuts", "vi" or "auto"; this and all that follows as in
        `estimate`.
      seed: of all random numbers.
      reml: maximise the restricted likelihood.
      solver: "direct", "iterative" or "auto".
      tolerance: Monte Carlo errors as a fraction of standard errors.
      num_draws: draws per chain in the first iteration of mcem, or those that nuts keeps.
      max_draws: most draws per chain.
      max_iterations: most iterations.
      num_chains: chains that run side by side.
      num_warmup: draws of nuts before those that are kept.
      target_acceptance: what the steps of nuts are tuned for.
      max_tree_depth: of the trajectories of nuts.
      surrogate: what vi fits to the posterior distribution: "full_rank" or "factored".
      importance: draw the draws of vi again by their importance.
      progress: show how far reading and fitting are, where somebody looks; see `estimate`.
      strict: raise ConvergenceError where the outcome is not a converged one.
      checkpoint: a folder to go on from when the fit was killed.
    Returns:
      The fit.
    Raises:
      FormulaSyntaxError: if the text is not a formula.
      FormulaDataError: if the data cannot answer it.
      ModelError: if the model cannot be fitted as asked.
      CheckpointError: if the checkpoint is of another fit, damaged, or in use by another process.
      OSError: if its folder cannot be made, or written to.
      ClusterError: if workers are lost for good, out of memory, or of other versions.
    Example:
      >>> import lmeformula as lf
      >>> fitted = lf.fit("Reaction ~ Days + (Days|Subject)", lf.datasets.load("sleepstudy"))
      >>> fitted.fixef.round(2).to_dict()
      {'Intercept': 251.41, 'Days': 10.47}
    """
    began = time.perf_counter()
    # A mistake in the family's name shows before the data are read.
    if find_family(family).expand is not None and isinstance(formula, str):
        # Its labels (1 |ID| g) link the categories of the response.
        formula = {"mu": formula}
    parsed = parse(formula, double_bar=double_bar)
    # Whether its folder can be written to shows before the data are read.
    with opened(checkpoint), shown(progress is not False):
        designed = build_design(
            parsed,
            data,
            contrasts=contrasts,
            functions=functions,
            weights=weights,
            offset=offset,
            frequency=frequency,
            covariances=covariances,
            merge=merge,
            cluster=cluster,
        )
        design_seconds = time.perf_counter() - began
        found = estimate(
            compile_model(designed, family, sigma=sigma, dtype=dtype, priors=priors),
            method=method,
            seed=seed,
            reml=reml,
            solver=solver,
            tolerance=tolerance,
            num_draws=num_draws,
            max_draws=max_draws,
            max_iterations=max_iterations,
            num_chains=num_chains,
            num_warmup=num_warmup,
            target_acceptance=target_acceptance,
            max_tree_depth=max_tree_depth,
            surrogate=surrogate,
            importance=importance,
            progress=progress,
            strict=strict,
            checkpoint=checkpoint,
        )
    seconds = found.seconds._replace(design=design_seconds, total=time.perf_counter() - began)
    return replace(found, seconds=seconds)


@kinds.takes(
    path=kinds.path,
    merge=kinds.flag,
    functions=kinds.optional(kinds.mapping),
    family=kinds.optional(kinds.instance(Family, "Give the lf.Family that it was fitted with.")),
    max_bytes=kinds.whole(1),
)
def load(
    path: str | PathLike[str],
    *,
    data: Any = None,
    offset: Any = None,
    weights: Any = None,
    frequency: Any = None,
    merge: bool = False,
    functions: Functions | None = None,
    family: Family | None = None,
    max_bytes: int = MAX_BYTES,
) -> Fit:
    """Load a fit that `Fit.save` saved, here or on another machine.

    Nothing in the file is run. What needs the rows of the data, such as residuals, says so unless they were
    saved too, or are given again; predictions for new rows need nothing but the file.

    Args:
      path: the file.
      data: the table that it was fitted to, or where its rows are, as `lf.fit` takes them, in any order: what
        needs the rows is there then as in the fit that was saved.
      offset: as it was given to the fit, where that was an array; columns are found by their names.
      weights: the same.
      frequency: the same.
      merge: put identical rows of a source together, where it was so for the fit.
      functions: the functions of your own that the formula calls, by name; a file cannot hold them.
      family: the family, where it was one of your own.
      max_bytes: refuse a file that would take more memory than this.
    Returns:
      The fit.
    Raises:
      SavedFitError: if the file is damaged, was changed, comes from a newer version, or needs functions that
        were not given; the message says which.
      FormulaDataError: if the data are not those that it was fitted to.
      OSError: if the file cannot be read.
    """
    from lmeformula.store.save import load as read

    given = {"offset": offset, "weights": weights, "frequency": frequency}
    again = None if data is None else partial(with_rows, data=data, merge=merge, **given)
    if again is None and any(each is not None for each in given.values()):
        raise ModelError(
            f"{', '.join(name for name, each in given.items() if each is not None)} without data",
            hint="They go with the rows of the fit: lf.load(path, data=...).",
        )
    return Fit.of(read(path, functions=functions, family=family, max_bytes=max_bytes, again=again))
