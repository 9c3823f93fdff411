"""Where likelihood times priors is highest: what is refused of it, and Gaussian models, exactly."""

from __future__ import annotations

from dataclasses import replace

from lmeformula.em.types import Options
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.likelihood.laplace.determinant import Exactly
from lmeformula.likelihood.laplace.fit import Care
from lmeformula.likelihood.laplace.restricted import Restricted
from lmeformula.model.compile import Model


def refuse(model: Model, method: str, solver: str, reml: bool) -> None:
    """Refuse ways to fit that know nothing of priors.

    Raises:
      ModelError: that says which do.
    """
    if method == "mcem" and model.family.is_normal:
        raise ModelError(
            "Monte Carlo EM does not fit Gaussian models with priors, of which the posterior mode is exact",
            hint='Leave method out, or use method="exact".',
        )
    if solver == "iterative":
        raise ModelError(
            "the iterative solver does not fit models with priors",
            hint='Use solver="direct", or leave priors out.',
        )
    if model.design.shards is not None:
        raise ModelError(
            "models with priors are not fitted over the workers of a cluster",
            hint="cluster=False reads the rows into this process.",
        )
    for one in model.priors:
        sizes = [len(model.space.terms[term].columns) if term >= 0 else 1 for term in one.terms]
        if not all(map(one.prior.is_bounded, sizes)):
            raise ModelError(
                f"priors[{one.key!r}]: the density of {one.prior.text} is infinite at its bound, where the "
                "posterior mode would always be",
                hint="Give a gamma, beta or lkj prior shapes of 1 or more, a wishart prior k + 1 degrees of "
                "freedom or more for k coefficients.",
            )
    of_fixed = model.priors.of("fixed")
    if reml and of_fixed:
        raise ModelError(
            f"priors[{of_fixed[0].key!r}] is of coefficients, which the restricted likelihood integrates out",
            hint="Use reml=False, or give priors of standard deviations, correlations, covariances and sigma.",
        )


def estimate_exactly(model: Model, reml: bool, seed: int, options: Options) -> FittedModel:
    """The posterior mode of a Gaussian model, by its likelihood or the restricted one.

    The determinant at the mode of the effects gives its likelihood exactly, at any parameters; beside priors
    neither the fixed effects nor sigma have a best value in closed form.
    """
    from lmeformula.estimation.laplace import estimate_laplace

    care = Care(looks_far=False, marginal=Restricted if reml else Exactly)
    return replace(estimate_laplace(model, "direct", seed, options, care), reml=reml)
