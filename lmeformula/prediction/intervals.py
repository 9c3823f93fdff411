"""What intervals by any method share: which parameters, what coverage, how they are laid out."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import scipy.special

from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.parameters import Parameter


def cutoff(level: float) -> float:
    """The two-sided normal quantile of a level, the root of its chi-square quantile with one degree of freedom.

    Example:
      >>> round(cutoff(0.95), 3)
      1.96
    """
    return float(scipy.special.ndtri(0.5 + level / 2))


def chosen(fit: FittedModel, parm: Sequence[str] | str | None) -> list[int]:
    """Positions of the parameters of those names; of all, in the order of the fit, for None.

    Raises:
      ModelError: if the fit has no such parameter.
    """
    if parm is None:
        return list(range(len(fit.param_names)))
    names = [parm] if isinstance(parm, str) else list(parm)
    unknown = [name for name in names if name not in fit.param_names]
    if unknown:
        raise ModelError(
            f"the fit has no parameter {unknown[0]!r}",
            hint=f"Its parameters are {', '.join(fit.param_names)}.",
        )
    return [fit.param_names.index(name) for name in names]


def interval_frame(
    rows: Sequence[Parameter], ends: Sequence[tuple[float, float]], notes: Sequence[str]
) -> pd.DataFrame:
    """Lay intervals out.

    Args:
      rows: the parameters.
      ends: lower and upper end of each.
      notes: what a reader should know of each; mostly "".
    Returns:
      frame: columns parameter, estimate, lower, upper, note.
    """
    return pd.DataFrame(
        {
            "parameter": [p.name for p in rows],
            "estimate": [p.estimate for p in rows],
            "lower": [low for low, _ in ends],
            "upper": [high for _, high in ends],
            "note": list(notes),
        }
    )
