"""Families of the user's own: a record from any TFP distribution, tried out when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.family.assemble import assemble
from lmeformula.family.binary import trials_response
from lmeformula.family.checks import check_rows, numbers, refuse_weights
from lmeformula.family.constant import Climber, Constant
from lmeformula.family.links import LINKS
from lmeformula.family.own import NO_OWN, Own
from lmeformula.family.own_links import link_name
from lmeformula.family.record import Arrays, Predicted
from lmeformula.family.record import Family as Record
from lmeformula.family.score_trial import check_score
from lmeformula.family.successes_trial import one_ratio, try_trials, variance_ratio
from lmeformula.family.supports import Support, support_of
from lmeformula.family.trial import is_mean, takes_formula, takes_single, try_out
from lmeformula.family.user_family import UserFamily
from lmeformula.startup import tf

UNWEIGHTED = (
    "Repeat the rows instead, or say that log densities are to be multiplied by weights: lf.Family(..., "
    "weights=True)."
)


@kinds.takes(
    parameters=kinds.optional(kinds.mapping),
    start=kinds.optional(kinds.mapping),
    weights=kinds.flag,
)
def Family(
    name: str,
    distribution: Callable[..., Any],
    *,
    link: Any = "identity",
    parameters: Mapping[str, Any] | None = None,
    support: str | Callable[[Floats], Mask] = "real",
    start: Mapping[str, float] | None = None,
    mean: Callable[..., Any] | None = None,
    weights: bool = False,
) -> Record:
    """Make a response family of your own; it is tried out at once, and fits like a built-in one.

    Everything that a fit needs comes from the distribution by automatic differentiation, to the third
    derivative in the predictor. Its own parameters may have formulas, as those of built-in families,
    `lf.fit({"mu": "y ~ x + (1 | g)", "scale": "~ x"}, ...)`: the link is the logarithm of what is positive, the
    logit of what is between 0 and 1, the identity of what has no bounds, and the like of others.

    Args:
      name: what the family is called: letters, digits and underscores, and no built-in family's name.
      distribution: (mu, and the own parameters by name) -> a tfd.Distribution with a row for each element of
        mu, which is the inverse link of the linear predictor. Own parameters come as tensors that go together
        with mu; so do the numbers of trials, `trials=`, where the support is that.
      link: of mu: "identity", "log", "logit", "probit", "cloglog", "cauchit", or a tfb.Bijector from the
        linear predictor to mu.
      parameters: the family's own parameters by name, each with a tfb.Bijector from any number to its values,
        such as tfb.Exp(), or with its bounds, such as (0, np.inf). Numbers inside of a bijector must be
        float64: tfb.Shift(np.float64(1)).
      support: the responses that there are: "real", "positive", "nonnegative", "unit" (strictly between 0 and
        1), "count", "binary", or "trials" for successes out of trials, written cbind(successes, failures) or
        y | trials(n); or a function of an array of responses that says which are suitable.
      start: values of own parameters to start the search from; those that the bijectors make of zero by
        default. The search finds others where the data say so.
      mean: the expected response, of successes their expected share, with the arguments of `distribution` but
        the trials; by default its mean in TFP.
      weights: whether there may be prior weights. A row's log density is multiplied by its weight, so that it
        counts as so many rows with its response; one of these is what simulations draw and what has a mean.
    Returns:
      The record, for `lf.fit(..., family=...)`. A saved fit holds its name and link, not the functions: give
      it again to `lf.load(path, family=...)`.
    Raises:
      ModelError: if the distribution has the wrong shape or type, no finite derivatives at ordinary points,
        draws outside of the support or none at all, kinks instead of a curvature, or draws that are not
        from its density; or if an argument is not one of those named here.
    References:
      McCullagh, Nelder (1989), Generalized Linear Models, 2nd ed., chapter 2, for links and responses.
    Example:
      >>> import tensorflow_probability as tfp
      >>> import lmeformula as lf
      >>> gumbel = lf.Family(
      ...     "gumbel",
      ...     lambda mu, scale: tfp.distributions.Gumbel(mu, scale),
      ...     parameters={"scale": tfp.bijectors.Exp()},
      ... )
      >>> gumbel
      Family(gumbel(identity))
      >>> data = lf.datasets.load("sleepstudy")
      >>> fit = lf.fit("Reaction ~ Days + (1 | Subject)", data, gumbel, method="laplace")
      >>> fit.family_params.round(1).to_dict()
      {'scale': 27.7}
      >>> binomial = lf.Family(
      ...     "my_binomial",
      ...     lambda mu, trials: tfp.distributions.Binomial(trials, probs=mu),
      ...     link="logit",
      ...     support="trials",
      ... )
      >>> cows = lf.datasets.load("cbpp")
      >>> formula = "cbind(incidence, size - incidence) ~ 1 + (1 | herd)"
      >>> lf.fit(formula, cows, binomial, method="laplace").fixef.round(2).to_dict()
      {'Intercept': -2.05}
    """
    user = assemble(name, distribution, link, parameters or {}, support, start or {})
    taken = support_of(name, support)
    try_out(user, taken)
    check_score(user)
    if user.has_trials:
        try_trials(user, mean is None)
    rules = Rules(user, taken, link, mean, takes_single(user), weights)
    has_variance = is_mean(user) and (not user.has_trials or one_ratio(user))
    return Record(
        name=name,
        link=link if isinstance(link, str) else link.name,
        response=rules.response,
        distribution=rules.distribution,
        mean=rules.mean,
        working=rules.working,
        own=rules.own,
        variance=rules.variance if has_variance else None,
        overdispersion=rules.overdispersion if has_variance and user.has_trials else None,
        has_trials=user.has_trials,
        has_weights=weights,
        own_names=user.names,
        scale=user.scale,
        predicted=_predicted(user),
    )


def _predicted(user: UserFamily) -> tuple[Predicted, ...]:
    """The own parameters that may have a formula: where their bounds are known, and the density is smooth."""
    return tuple(
        Predicted(own, link_name(ends), place, bounds=ends)
        for place, (own, ends) in enumerate(zip(user.names, user.scale.ends, strict=True))
        if ends is not None and takes_formula(user, place)
    )


@dataclass(frozen=True, eq=False)
class Rules:
    """The functions of the record of a user's family.

    Attributes:
      user: what it is made of.
      support: the responses that it takes.
      link: as the user gave it.
      expected: the user's function for the mean, or None.
      in_single: whether the distribution takes single precision.
      has_weights: whether it takes prior weights.
    """

    user: UserFamily
    support: Support
    link: Any
    expected: Callable[..., Any] | None
    in_single: bool
    has_weights: bool

    def response(self, design: Design) -> Arrays:
        """The response, refused where it is not in the support; trials and weights where there are such."""
        name, needs = self.user.name, self.support.words
        if not self.has_weights and not self.user.has_trials:
            refuse_weights(design, name, UNWEIGHTED)
        given = (np.ones(design.n) if design.weights is None else design.weights,)
        weights = given if self.has_weights else ()
        if self.user.has_trials:
            # Weights that count rows are no numbers of trials.
            counted = replace(design, weights=None) if self.has_weights else design
            return (*trials_response(name)(counted)[:2], *weights)
        hint = "The family takes what its `support` says."
        values = numbers(design, name, needs, hint)
        check_rows(design, name, ~self.support.holds(values), needs, hint)
        return (values, *weights)

    def distribution(self, eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
        """Of rows, at their predictors."""
        if eta.dtype != np.float64 and not self.in_single:
            raise ModelError(
                f"the distribution of the family {self.user.name!r} does not take {eta.dtype.name} numbers",
                hint='Fit with dtype="float64", or take the types of its numbers from mu.dtype.',
            )
        trials = response[1] if self.user.has_trials else None
        return self.user.build(self.user.inverse(eta), own, trials)

    @cached_property
    def climber(self) -> Climber:
        """Finds start values."""

        def density(eta: Tensor, response: Arrays, free: list[Tensor]) -> Tensor:
            own = self.user.scale.tensors(free)
            found = self.distribution(eta, response, own).log_prob(response[0])
            return found * response[-1] if self.has_weights else found

        return Climber(density, self.user.scale.to_free(self.user.start))

    def constant(self, response: Arrays) -> Constant:
        """The best constant predictor."""
        values = response[0]
        if self.user.has_trials:
            values = (values + 0.5) / (response[1] + 1.0)
        quantiles = np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9])
        candidates = np.concatenate([[quantiles.mean()], self.forward(quantiles)])
        return self.climber(response, values, candidates)

    def forward(self, values: Floats) -> Floats:
        """The link of values, not finite where they are no values of mu."""
        if isinstance(self.link, str):
            with np.errstate(all="ignore"):
                return np.asarray(LINKS[self.link].forward(values), float)
        return np.asarray(self.link.inverse(tf.constant(values, tf.float64)))

    def working(self, response: Arrays) -> Floats:
        """Responses on the scale of the predictor."""
        return self.climber.working(response, self.constant(response))

    def own(self, design: Design) -> Own:
        """The own parameters, where the best constant predictor has them."""
        if not self.user.names:
            return NO_OWN
        free = self.constant(self.response(design)).free
        names, scale = self.user.names, self.user.scale
        return Own("_".join(names), names, scale.to_natural(free), scale)

    def mean(self, eta: Floats, own: Floats) -> Floats:
        """Expected responses, as the user or the distribution has them."""
        eta = _with_own(eta, own)
        mu, given = self.user.inverse(tf.constant(eta, tf.float64)), _tensors(own)
        if self.expected is not None:
            found = self.expected(mu, **dict(zip(self.user.names, given, strict=True)))
        else:
            try:
                found = self.user.build(mu, given, self._one_trial(mu)).mean()
            except NotImplementedError:
                raise ModelError(
                    f"the distribution of the family {self.user.name!r} has no mean in TFP",
                    hint="Give lf.Family a function for it, mean=lambda mu, ...: ..., or predict "
                    'with kind="link".',
                ) from None
        return np.broadcast_to(np.asarray(found, np.float64), np.shape(eta)).copy()

    def variance(self, mean: Floats, own: Floats) -> Floats:
        """Variances of responses with these means, where mu is the mean; of successes of single trials."""
        mean = _with_own(mean, own)
        mu = tf.constant(mean, tf.float64)
        made = self.user.build(mu, _tensors(own), self._one_trial(mu))
        return np.broadcast_to(np.asarray(made.variance(), np.float64), np.shape(mean)).copy()

    def overdispersion(self, trials: Floats, own: Floats) -> Floats:
        """How many times as much successes vary as those of independent trials."""
        return variance_ratio(self.user, trials, _tensors(own))

    def _one_trial(self, mu: Tensor) -> Tensor | None:
        return 1.0 + 0.0 * mu if self.user.has_trials else None


def _with_own(values: Floats, own: Floats) -> Floats:
    """Values of rows, one for each of the own parameters' where these are of more rows."""
    shape = np.broadcast_shapes(np.shape(values), *(np.shape(value) for value in own))
    return np.broadcast_to(np.asarray(values, float), shape)


def _tensors(own: Floats) -> tuple[Tensor, ...]:
    return tuple(tf.constant(value, tf.float64) for value in own)
