"""The Monte Carlo draws that a fit kept of a few random effects."""

from __future__ import annotations

from dataclasses import dataclass

from lmeformula.arrays import Floats
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel, check_not_drawn


@dataclass(frozen=True, slots=True, eq=False)
class EffectDraws:
    """Successive draws of one random effect in the last E-step.

    Attributes:
      term: name of the random-effects term.
      level: the level of its grouping factor.
      column: the coefficient.
      draws: (m,) on the scale of the linear predictor, in the order drawn.
    """

    term: str
    level: str
    column: str
    draws: Floats

    @property
    def mean(self) -> float:
        """Mean of the draws."""
        return float(self.draws.mean())

    @property
    def sd(self) -> float:
        """Standard deviation of the draws; NaN for a single one."""
        return float(self.draws.std(ddof=1)) if len(self.draws) > 1 else float("nan")


def effect_draws(
    fit: FittedModel, term: str | None = None, count: int | None = None
) -> list[EffectDraws]:
    """Pick the kept draws of some effects.

    Args:
      fit: a model fitted by `mcem`.
      term: name of a random-effects term; all terms by default.
      count: how many effects at most, from the first; all that were kept by default.
    Returns:
      effects: in the order of the design.
    Raises:
      ModelError: if the fit kept no draws, or none of that term.
    """
    check_not_drawn(
        fit, "draws of the last E-step", "arviz.plot_trace(fit.to_arviz()) has its draws."
    )
    if fit.watched is None:
        raise ModelError(
            f"a fit by the {fit.method} method has no Monte Carlo draws",
            hint='Fit with method="mcem" to have draws of the random effects.',
        )
    found = [
        EffectDraws(of_term, level, column, draws)
        for (of_term, level, column), draws in zip(
            fit.watched.names, fit.watched.draws.T, strict=True
        )
        if term in (None, of_term)
    ]
    if not found:
        known = dict.fromkeys(name[0] for name in fit.watched.names)
        raise ModelError(
            f"no draws were kept of a random-effects term {term!r}",
            hint=f"There are draws of {', '.join(known)}.",
        )
    return found[:count]
