"""Models whose posterior distribution is not drawn from, in words."""

from __future__ import annotations

from lmeformula.errors import ModelError
from lmeformula.model.compile import Model


def refuse(model: Model, reml: bool, solver: str, method: str = "nuts") -> None:
    """Refuse what is not drawn.

    Args:
      model: the model.
      reml: whether the restricted likelihood is asked for.
      solver: the solver that is asked for.
      method: "nuts" or "vi".
    Raises:
      ModelError: that says what to do instead.
    """
    what = ""
    if model.space.has_no_residual:
        what = "models without a residual"
    elif not model.space.has_normal_priors:
        what = "effects by Student's t distribution"
    elif model.design.shards is not None:
        what = "models over the workers of a cluster"
    elif any(t.structure.correlations in ("known", "factors") for t in model.space.terms):
        what = "covariances that are known or of a few factors, propto(), equalto() and rr()"
    elif any(term.meets for term in model.design.terms):
        what = "effects of levels that are related or share rows"
    elif any(
        not hasattr(model.space.terms[place].structure, "tfp_reported")
        for one in model.priors.of("structure")
        for place in one.terms
    ):
        what = "priors of the range, or correlations, of a Matern or of several covariances"
    elif model.space.own.size and model.space.own.scale.bijector() is None:
        what = "own parameters of the family of which some are held"
    if what:
        raise ModelError(
            f'method="{method}" does not draw {what}',
            hint='Leave method out, or use "laplace" or "mcem".',
        )
    if model.dtype != "float64":
        raise ModelError(f'method="{method}" works in float64', hint="Leave dtype out.")
    if solver == "iterative":
        raise ModelError(
            f'method="{method}" starts from a fit by the direct solver', hint="Leave solver out."
        )
    if reml:
        raise ModelError(
            f'method="{method}" has no restricted likelihood: it integrates over all parameters',
            hint="Leave reml out.",
        )
