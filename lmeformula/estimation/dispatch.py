"""Model and method -> Fit.

What a method needs is imported where it is taken: an exact fit does not wait for what others need.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.checkpoint.folder import Folder
from lmeformula.design.absent import has_rows
from lmeformula.drawn import Effort
from lmeformula.em.progress import Progress
from lmeformula.em.types import Options
from lmeformula.errors import ModelError
from lmeformula.estimation.chains import Chains, without_workers
from lmeformula.estimation.check_numbers import check_numbers
from lmeformula.estimation.solver import choose_solver
from lmeformula.fit import FittedModel
from lmeformula.model.compile import Model
from lmeformula.model.params import Params
from lmeformula.startup import import_tensorflow
from lmeformula.watch import EVALUATIONS, watched

METHODS = ("auto", "exact", "quadrature", "laplace", "mcem", "nuts", "vi")
# Those that draw from the posterior distribution, or from what stands for it.
DRAWING = ("nuts", "vi")
# Those that integrate effects out.
INTEGRATING = ("quadrature", "laplace")
# What is said of a fit that takes its time.
WATCHED = {
    "exact": "exact fit",
    "quadrature": "fit by quadrature",
    "laplace": "Laplace fit",
}


def estimate(
    model: Model,
    *,
    method: str = "auto",
    seed: int = 0,
    reml: bool = False,
    solver: str = "auto",
    options: Options | None = None,
    progress: Progress | None = None,
    start: Params | None = None,
    is_near: bool = False,
    checkpoint: Folder | None = None,
    effort: Effort | None = None,
) -> FittedModel:
    """Estimate a model's parameters; see `lmeformula.estimate`, which this is without its displays.

    Args:
      model: what to fit.
      method: "auto", "exact", "quadrature", "laplace", "mcem", "nuts" or "vi".
      seed: of all random numbers.
      reml: maximise the restricted likelihood (exact only).
      solver: "auto", "direct" or "iterative".
      options: of the Monte Carlo EM engine.
      progress: shown the iterations of the engine.
      start: parameters to start from, with covariances of full rank; rough ones by default.
      is_near: whether the start is next to the maximum, as all rows' estimates are for most of them: then none
        is looked for far out, nor how near an approximation is to the likelihood.
      checkpoint: where to keep what was worked out, and go on from; nowhere by default.
      effort: how much "nuts" or "vi" is to draw.
    Raises:
      ModelError: for a method or a solver that does not exist or does not do what is asked.
      CheckpointError: for a checkpoint that is of another fit.
    """
    if method not in METHODS:
        raise ModelError(f"there is no method {method!r}", hint=f"Methods: {', '.join(METHODS)}.")
    if method in DRAWING:
        return _drawn(model, method, seed, reml, solver, options, start, checkpoint, effort)
    is_gaussian = model.family.is_normal
    is_student = not model.space.has_normal_priors
    is_chosen = method == "auto"
    if is_chosen:
        method = best_method(model, solver, options)
    if is_student:
        from lmeformula.estimation.student_effects import refuse

        refuse(method, solver, model.dtype)
    if method == "exact" and not is_gaussian:
        raise ModelError(
            f"there is no exact likelihood of a {model.family.name} model",
            hint='Use method="laplace" or method="mcem".',
        )
    if reml and method != "exact":
        raise ModelError(
            f"{method} maximises the likelihood, not the restricted one",
            hint='Use method="exact" with reml=True, for a gaussian model.',
        )
    settings = Options() if options is None else options
    if model.priors:
        from lmeformula.estimation.posterior_mode import refuse as refuse_priors

        refuse_priors(model, method, solver, reml)
    model, chains = model.starting(start), None
    if method == "mcem" and model.design.shards is not None:
        chains = Chains(model)
        model = without_workers(model)
    if is_gaussian and method in INTEGRATING:
        # Any way to integrate effects out of a Gaussian model gives its exact likelihood.
        method = "exact"
    if method == "quadrature" and not is_chosen and model.design.shards is None:
        from lmeformula.likelihood.quadrature.marginal import check_blocks

        check_blocks(model)
    if method == "mcem" and any(term.meets for term in model.design.terms):
        raise ModelError(
            "Monte Carlo EM is for levels that are independent and do not share rows, not for those of a known "
            "covariance, and of mm(g, h)",
            hint='Use method="laplace"; a Gaussian model is fitted exactly.',
        )
    is_direct = is_student or bool(model.priors) or model.space.has_known_scale
    if model.space.has_known_scale and solver == "iterative":
        raise ModelError(
            "a model with a known covariance, equalto(), beside a residual is fitted by the direct solver",
            hint="Leave solver out.",
        )
    solver = "direct" if is_direct else choose_solver(model, method, solver)
    if solver == "iterative" and is_gaussian and method == "mcem":
        raise ModelError(
            f"the iterative solver does not fit {model.family.name} models by {method}",
            hint='Use method="exact", or solver="direct".',
        )
    if model.space.has_no_residual and (method, solver) != ("exact", "direct"):
        raise ModelError(
            "a model without a residual is fitted exactly, by the direct solver",
            hint='Leave method and solver out, or let a residual be estimated: leave "sigma" out.',
        )
    if method == "mcem" and any(t.structure.correlations == "blocks" for t in model.space.terms):
        raise ModelError(
            "Monte Carlo EM does not fit correlations that differ by the levels of a factor, gr(g, by = a)",
            hint='Use method="laplace".',
        )
    if is_gaussian and not is_student:
        check_numbers(model.design)
    if method == "mcem" or (method in INTEGRATING and not model.family.has_derivatives):
        import_tensorflow()

    if checkpoint is not None and not has_rows(model.design):
        raise ModelError(
            "a checkpoint is known by the rows of its data, and these are with the workers of a cluster",
            hint="Leave checkpoint out; cluster=False reads the rows into this process.",
        )

    if checkpoint is not None and chains is not None:
        raise ModelError(
            "a checkpoint is not kept of chains that walk with the workers of a cluster",
            hint="Leave checkpoint out; cluster=False lets them walk in this process.",
        )

    def run() -> FittedModel:
        with one_blas_thread():
            if method == "exact" and model.priors:
                from lmeformula.estimation.posterior_mode import estimate_exactly

                return estimate_exactly(model, reml, seed, settings)
            if method == "exact":
                from lmeformula.estimation.exact import estimate_exact

                return estimate_exact(model, reml, solver, seed, settings, start=start)
            from lmeformula.estimation.orthogonal_columns import in_orthogonal_columns

            return in_orthogonal_columns(
                model,
                lambda model: _integrated(
                    model, method, solver, seed, settings, progress, is_near, chains
                ),
            )

    if chains is not None:
        return told_of(run(), chains.report())
    # Monte Carlo EM has a display of its own.
    with watched(WATCHED[method], of=EVALUATIONS) if method in WATCHED else nullcontext():
        if checkpoint is None:
            return without_shards(run())
        from lmeformula.estimation.resumed import resumed

        choices = {"method": method, "solver": solver, "seed": seed, "reml": reml}
        return without_shards(resumed(run, checkpoint, model, settings, choices))


def _drawn(
    model: Model,
    method: str,
    seed: int,
    reml: bool,
    solver: str,
    options: Options | None,
    start: Params | None,
    checkpoint: Folder | None,
    effort: Effort | None,
) -> FittedModel:
    """Draw from the posterior distribution."""
    from lmeformula.estimation.refused_draws import refuse

    refuse(model, reml, solver, method)
    if checkpoint is not None:
        raise ModelError(f'method="{method}" keeps no checkpoint', hint="Leave checkpoint out.")
    import_tensorflow()
    from lmeformula.estimation.by_nuts import estimate_nuts
    from lmeformula.estimation.by_vi import estimate_vi

    by = {"nuts": estimate_nuts, "vi": estimate_vi}[method]
    with one_blas_thread():
        settings = Options() if options is None else options
        return by(model.starting(start), seed, settings, effort, estimate)


def without_shards(fit: FittedModel) -> FittedModel:
    """A fit that holds no workers: they may forget its rows. It knows what happened to them."""
    design = fit.model.design
    if design.shards is None:
        return fit
    return told_of(fit, design.shards.parts.report())


def told_of(fit: FittedModel, happened: tuple[str, ...]) -> FittedModel:
    """A fit that has its rows here or nowhere, and knows what happened to them."""
    design = fit.model.design
    given = design.given._replace(happened=happened)
    return replace(fit, model=replace(fit.model, design=replace(design, shards=None, given=given)))


def _integrated(
    model: Model,
    method: str,
    solver: str,
    seed: int,
    options: Options,
    progress: Progress | None,
    is_near: bool,
    chains: Chains | None,
) -> FittedModel:
    """Fit a model whose effects are integrated out, by nodes, approximately, or by draws."""
    if not model.space.has_normal_priors:
        from lmeformula.estimation.student_effects import estimate_student

        return estimate_student(model, seed, options, progress)
    if model.family.is_normal:
        from lmeformula.estimation.gaussian_draws import estimate_mcem

        return estimate_mcem(model, seed, options, progress, chains)
    from lmeformula.estimation import laplace
    from lmeformula.likelihood.laplace.fit import Care
    from lmeformula.likelihood.quadrature.marginal import MARGINALS

    if method in MARGINALS:
        # The approximation may be higher far out, the likelihood is not.
        care = Care(
            looks_far=method == "laplace" and not is_near,
            marginal=MARGINALS[method],
            is_one_of_many=is_near,
        )
        return laplace.estimate_laplace(model, solver, seed, options, care)
    return laplace.estimate_mcem(model, seed, options, progress, solver, chains)


def best_method(model: Model, solver: str = "auto", options: Options | None = None) -> str:
    """The most exact method that takes a model in reasonable time.

    Args:
      model: what to fit.
      solver: "auto", "direct" or "iterative".
      options: of the Monte Carlo EM engine; others than the usual ones ask for it.
    """
    if not model.space.has_normal_priors:
        return "mcem"
    if model.family.is_normal:
        return "exact"
    if any(term.meets for term in model.design.terms):
        return "laplace"
    if model.design.shards is not None:
        return "mcem" if has_rows(model.design) else "laplace"
    from lmeformula.likelihood.quadrature.marginal import reaches

    is_free = solver != "iterative" and options in (None, Options())
    if is_free and reaches(model):
        return "quadrature"
    return "laplace" if model.priors else "mcem"
