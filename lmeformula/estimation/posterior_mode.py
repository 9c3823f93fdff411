"""Where likelihood times priors is highest: what is refused of it, and Gaussian models, exactly."""

from __future__ import annotations

from lmeformula.em.types import Options
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.likelihood.laplace.determinant import Exactly
from lmeformula.likelihood.laplace.fit import Care
from lmeformula.model.compile import Model


def refuse(model: Model, method: str, solver: str, reml: bool) -> None:
    """Refuse ways to fit that know nothing of priors.

    Raises:
      ModelError: that says which do.
    """
    if method == "mcem":
        raise ModelError(
            "Monte Carlo EM does not fit models with priors",
            hint='Use method="laplace", or method="quadrature" where effects of few hang together.',
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
    if reml:
        raise ModelError(
            "priors are not added to the restricted likelihood",
            hint="Use reml=False: the posterior mode with flat priors of all that has none.",
        )


def estimate_exactly(model: Model, seed: int, options: Options) -> FittedModel:
    """The posterior mode of a Gaussian model.

    The determinant at the mode of the effects gives its likelihood exactly, at any parameters; beside priors
    neither the fixed effects nor sigma have a best value in closed form.
    """
    from lmeformula.estimation.laplace import estimate_laplace

    return estimate_laplace(model, "direct", seed, options, Care(looks_far=False, marginal=Exactly))
