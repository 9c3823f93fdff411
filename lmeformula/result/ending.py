"""Result stage: how a fit ended, in words that name what did not go well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmeformula.em.outcome import Outcome

if TYPE_CHECKING:
    from lmeformula.fit import Fit


def endless(fit: Fit) -> tuple[str, ...]:
    """Name the coefficients and thresholds that have no finite estimate; none but after a separation."""
    if fit.outcome is not Outcome.SEPARATION:
        return ()
    own = fit.model.space.own_slice if fit.model.family.thresholds else slice(0, 0)
    places = [*range(fit.model.space.num_fixed), *range(own.start, own.stop)]
    return tuple(fit.param_names[place] for place in places if np.isnan(fit.param_stderr[place]))


def how_it_ended(fit: Fit) -> str:
    """Say how a fit ended.

    Args:
      fit: a fit, whatever came of it.
    Returns:
      text: the outcome's sentences, and the names of what has no finite estimate.
    Example:
      >>> import lmeformula as lf
      >>> how_it_ended(lf.fit("Yield ~ 1 + (1|Batch)", lf.datasets.load("dyestuff")))
      'Converged: the estimates no longer move by more than their own error.'
    """
    names = endless(fit)
    if not names:
        return fit.outcome.value
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"{fit.outcome.value} Without a finite estimate: {shown}."
