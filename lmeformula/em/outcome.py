"""How a fit ended: enumerated outcomes, each one instructive sentence."""

from __future__ import annotations

import enum


class Outcome(enum.Enum):
    """How a fit ended. The value is what to tell the user; `converged` says whether to trust the numbers.

    Example:
      >>> Outcome.CONVERGED.converged
      True
    """

    CONVERGED = "Converged: the estimates no longer move by more than their own error."
    BOUNDARY = (
        "Converged, with a parameter at its limit: the simpler model that it leads to fits as well, and the "
        "standard errors are that model's."
    )
    ITERATIONS_EXHAUSTED = (
        "Stopped at max_iterations with parameters still moving. Raise max_iterations, or look at "
        "fit.trace for the parameter that has not settled."
    )
    DRAWS_EXHAUSTED = (
        "Stopped at max_draws with a Monte Carlo error above the tolerance. Raise max_draws, or accept "
        "the larger error that fit.mc_error reports."
    )
    NONFINITE = (
        "The log density, or the approximation to its integral, became NaN or infinite. Check the scale of the "
        "columns, or integrate by method='mcem'."
    )
    OPTIMIZER_STALLED = (
        "The optimiser stopped where the gradient is not yet zero. Rescale the columns to comparable "
        "units, or simplify the random-effects terms."
    )
    SEPARATION = (
        "Some responses are predicted perfectly: what predicts them has no finite estimate. Leave that column "
        "out, or join its category with another."
    )
    UNIDENTIFIED = (
        "The data do not determine every parameter; the rest is at its maximum. Leave out the term or column "
        "that another one repeats."
    )
    PERFECT_FIT = (
        "The model meets the responses exactly: nothing is left to estimate errors from. Leave terms out, or "
        "look for a column that holds the response."
    )
    DIVERGED = (
        "A parameter ran away, with no maximum in sight. Simplify the random-effects terms, or look for groups "
        "whose responses are all alike."
    )
    SAMPLED = (
        "Converged: the chains agree, and their draws are enough for means and 95 % intervals."
    )
    NOT_MIXED = (
        "The chains do not agree: these draws are not yet from the posterior distribution. Raise "
        "num_warmup and num_draws, or give priors."
    )
    DIVERGENT = (
        "Some transitions diverged: the draws may miss a part of the posterior distribution. Raise "
        "target_acceptance to 0.95, or give tighter priors."
    )
    FEW_DRAWS = "The chains agree, but draws are too few for tails to be read off. Raise num_draws."
    APPROXIMATED = "Converged: what stands for the posterior distribution is near enough to it."
    POOR_SURROGATE = (
        "Not to be believed: importance ratios say that what was fitted is far from the posterior "
        "distribution. Draw from that itself, by method='nuts'."
    )
    UNSETTLED_SURROGATE = (
        "What was fitted to the posterior distribution was still getting nearer to it. Give tighter priors, or "
        "draw by method='nuts'."
    )
    INTERRUPTED = "Interrupted by the user: these are the estimates of the last whole iteration."

    @property
    def converged(self) -> bool:
        """Whether the estimates are the maximum-likelihood ones, or posterior means, to their own error."""
        return self in (
            Outcome.CONVERGED,
            Outcome.BOUNDARY,
            Outcome.SAMPLED,
            Outcome.APPROXIMATED,
        )
