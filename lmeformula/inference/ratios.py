"""Fixed effects whose exponentials mean something: ratios, odds ratios, hazard ratios."""

from __future__ import annotations

import re

from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.named_predictor import link_of, named_predictors

# Links by which sums of effects are products: a logarithm, of odds, of a hazard, or of a distance from a bound.
LOGARITHMS = re.compile(r"(log|logit|cloglog)(\(.*\))?")


def check_ratios(fit: FittedModel) -> None:
    """Refuse a fit with fixed effects whose exponentials would mean nothing.

    Raises:
      ModelError: names the predictor and its link.
    """
    for part in named_predictors(fit):
        link, _ = link_of(fit, part)
        if len(part.columns) and not LOGARITHMS.fullmatch(link):
            raise ModelError(
                f"effects on {part.name} have the {link} link: their exponentials are no ratios",
                hint="exponentiate=True is for log, logit and cloglog links. fit.emmeans(..., "
                'kind="response") gives means on the scale of the response.',
            )
