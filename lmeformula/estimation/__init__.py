"""Model -> Fit: estimate by the method asked for."""

from lmeformula.estimation.dispatch import estimate as estimate
