"""What is claimed of a Laplace approximation: that it is near the log-likelihood, or that this is open."""

from __future__ import annotations

import math

from lmeformula.certificate import Claim
from lmeformula.likelihood.laplace.next_term import NextTerm

# So much of a log-likelihood makes no difference to what is inferred from it.
NEAR = 0.5


def nearness(term: NextTerm) -> Claim:
    """What the next term of Laplace's series says of the approximation: near, or open how near.

    Example:
      >>> nearness(NextTerm(0.03, 0.01)).holds, nearness(NextTerm(22.0, 1.3)).holds
      (True, None)
    """
    away = f"{term.value:+.2g} (± {term.error:.1g})"
    words = f"the next term of its series takes the log-likelihood {away} away from Laplace's"
    if abs(term.value) + term.error <= NEAR:
        return Claim("approximation", True, abs(term.value), NEAR, (), words)
    if not math.isfinite(term.value):
        words = "the density is not finite over all that Laplace's approximation covers"
    words += "; method='mcem' is free of that"
    return Claim("approximation", None, abs(term.value), NEAR, (), words)
