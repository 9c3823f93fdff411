"""How a fit ended, in words that name what did not go well."""

from __future__ import annotations

import numpy as np

from lmeformula.em.outcome import Outcome
from lmeformula.fit import FittedModel
from lmeformula.prediction.own_limits import own_at_limits

# An approximation that leaves out so much of the log-likelihood of each row, or for each effect, may have its
# maximum elsewhere.
FAR = 0.1
OF_WHAT = "to the maximum of an approximation that is far from the likelihood (try method='mcem')"


def endless(fit: FittedModel) -> tuple[str, ...]:
    """Name the parameters that have no finite estimate; none but after a separation."""
    claims = () if fit.certificate is None else fit.certificate.claims
    return tuple(name for claim in claims if claim.name == "separation" for name in claim.names)


def doubtful(fit: FittedModel) -> tuple[str, ...]:
    """Name the parameters that the failing claims of a fit's certificate are about; none where all hold."""
    if fit.certificate is None or fit.outcome.converged:
        return ()
    names = (name for claim in fit.certificate.failing for name in claim.names)
    return tuple(dict.fromkeys(names))


def is_far(fit: FittedModel) -> bool:
    """Whether the next term of Laplace's series is more than FAR for every row, or for every effect."""
    claims = () if fit.certificate is None else fit.certificate.claims
    figures = [claim.figure for claim in claims if claim.name == "approximation"]
    most = FAR * min(fit.nobs, sum(modes.size for modes in fit.modes))
    return any(figure > most for figure in figures)


def at_bounds(fit: FittedModel) -> tuple[str, ...]:
    """Name the parameters of random effects that have no standard error, as they rest on a bound."""
    own = fit.model.space.own_slice.start
    places = range(fit.model.space.num_fixed, own)
    return tuple(fit.param_names[place] for place in places if np.isnan(fit.param_stderr[place]))


def at_limits(fit: FittedModel) -> tuple[str, ...]:
    """Name the family's own parameters that ended at their limits, each with the simpler family it leads to."""
    limits = {limit.name: limit for limit in fit.model.family.base.limits}
    design, endless = fit.model.design, np.isnan(fit.param_stderr[: fit.model.space.num_fixed])
    if fit.outcome is Outcome.BOUNDARY and endless.any():
        # Coefficients of an own parameter with a formula.
        return tuple(np.array(design.names, object)[endless])
    if fit.outcome is Outcome.BOUNDARY and fit.model.family.is_normal:
        return ("sigma at 0 (effects alone account for the responses)",)
    resting = np.array(fit.model.space.own.names, object)[own_at_limits(fit)]
    return tuple(f"{name} at {limits[name].value:g} ({limits[name].becomes})" for name in resting)


def how_it_ended(fit: FittedModel) -> str:
    """Say how a fit ended.

    Args:
      fit: a fit, whatever came of it.
    Returns:
      text: the outcome's sentences, and the names of what is at a bound, has no finite estimate or is not
        determined.
    Example:
      >>> import lmeformula as lf
      >>> how_it_ended(lf.fit("Yield ~ 1 + (1|Batch)", lf.datasets.load("dyestuff")))
      'Converged: the likelihood has a maximum here.'
      >>> how_it_ended(lf.fit("Yield ~ 1 + (1|Batch)", lf.datasets.load("dyestuff2")))[:51]
      'Converged, singular (at a boundary: sd(Batch)): the'
    """
    text = outcome_sentence(fit)
    if fit.outcome.converged and is_far(fit):
        text = text.replace("Converged", f"Converged {OF_WHAT}", 1)
    if fit.singular:
        names = at_bounds(fit)
        where = f" (at a boundary: {_shown(names)})" if names else " (at a boundary)"
        before, converged, rest = text.partition("Converged")
        is_fine = bool(converged) and not before
        text = f"Converged, singular{where}{rest}" if is_fine else f"{text} Singular{where}."
    if names := at_limits(fit):
        return f"{text} At its limit: {_shown(names)}."
    if names := endless(fit):
        return f"{text} Without a finite estimate: {_shown(names)}."
    if names := doubtful(fit):
        return f"{text} Concerned: {_shown(names)}."
    return text


def outcome_sentence(fit: FittedModel) -> str:
    """Say how a fit ended, without the names of what is concerned.

    Args:
      fit: a fit, whatever came of it.
    """
    if fit.has_priors and fit.outcome is Outcome.CONVERGED:
        by = ", by Laplace's approximation to the likelihood" if fit.has_modes else ""
        by = ", by the restricted likelihood" if fit.reml else by
        return f"Converged: this is the posterior mode (MAP){by}."
    if fit.outcome is not Outcome.CONVERGED or fit.is_drawn:
        return fit.outcome.value
    if fit.has_modes:
        return "Converged: Laplace's approximation to the likelihood has a maximum here."
    return f"Converged: the {'restricted ' if fit.reml else ''}likelihood has a maximum here."


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
