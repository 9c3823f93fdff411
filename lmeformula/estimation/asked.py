"""How a model is to be estimated, and how hard: arguments of calls, and the options that they make."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lmeformula.arguments import kinds
from lmeformula.drawn import SURROGATES, Effort
from lmeformula.em.types import Options
from lmeformula.errors import ModelError

# More is more than memory holds, whatever the model.
MOST_DRAWS, MOST_CHAINS = 2**31 - 1, 10_000
# A trajectory of 2 to this many steps takes as long as a thousand usual ones.
DEEPEST = 20


# How a model is estimated, and how hard: arguments of `estimate`, and of `fit`, before it reads the data.
EFFORT: dict[str, kinds.Check] = {
    "method": kinds.one_of("auto", "exact", "quadrature", "laplace", "mcem", "nuts", "vi"),
    "seed": kinds.seed,
    "reml": kinds.flag,
    "solver": kinds.one_of("auto", "direct", "iterative"),
    "tolerance": kinds.positive,
    "num_draws": kinds.optional(kinds.whole(10, MOST_DRAWS)),
    "max_draws": kinds.whole(10, MOST_DRAWS),
    "max_iterations": kinds.whole(1),
    "num_chains": kinds.optional(kinds.whole(1, MOST_CHAINS)),
    "num_warmup": kinds.optional(kinds.whole(0, MOST_DRAWS)),
    "target_acceptance": kinds.optional(kinds.coverage),
    "max_tree_depth": kinds.optional(kinds.whole(1, DEEPEST)),
    "surrogate": kinds.optional(kinds.one_of(*SURROGATES)),
    "importance": kinds.optional(kinds.flag),
    "strict": kinds.flag,
    "checkpoint": kinds.optional(kinds.path),
}


def options_of(
    method: str,
    of_both: Mapping[str, Any],
    of_mcem: Mapping[str, Any],
    of_nuts: Mapping[str, Any],
    of_vi: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Options, Effort | None]:
    """The options of the engine, and those of draws from a posterior distribution where these are asked for.

    Raises:
      ModelError: for options that the method does not have, or that do not go together.
    """
    given: dict[str, Any] = {name: value for name, value in of_both.items() if value is not None}
    more = {name: value for name, value in of_nuts.items() if value is not None}
    vi = {name: value for name, value in of_vi.items() if value is not None}
    if more and method != "nuts":
        raise ModelError(
            f"method={method!r} has no option {min(more)!r}",
            hint='It is one of method="nuts", which draws from the posterior distribution.',
        )
    if vi and method != "vi":
        raise ModelError(
            f"method={method!r} has no option {min(vi)!r}",
            hint='It is one of method="vi", which fits a distribution to the posterior one.',
        )
    if method == "nuts":
        return Options(**of_mcem), Effort(**given, **more)
    if method == "vi":
        return Options(**of_mcem), Effort(**given, num_warmup=0, **{"surrogate": "full_rank", **vi})
    options = Options(**given, **of_mcem)
    if options.max_draws < options.num_draws:
        raise ModelError(
            f"max_draws is {options.max_draws}, and num_draws is {options.num_draws}",
            hint="Draws grow from num_draws to max_draws.",
        )
    return options, None
