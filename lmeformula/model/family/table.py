"""The table of families, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Callable

from lmeformula.errors import ModelError
from lmeformula.model.family.binary import bernoulli, binomial
from lmeformula.model.family.continuous import BETA, GAMMA
from lmeformula.model.family.counts import POISSON
from lmeformula.model.family.gaussian import GAUSSIAN
from lmeformula.model.family.negative_binomial import NBINOM1, NBINOM2
from lmeformula.model.family.ordinal import cumulative
from lmeformula.model.family.record import Family

# Links of the families that have a choice; the first is the default.
LINKED: dict[str, tuple[Callable[[str], Family], tuple[str, ...]]] = {
    "bernoulli": (bernoulli, ("logit", "probit", "cloglog")),
    "binomial": (binomial, ("logit", "probit", "cloglog")),
    "cumulative": (cumulative, ("logit", "probit", "cloglog")),
}

FAMILIES: dict[str, Family] = {
    "gaussian": GAUSSIAN,
    **{name: build(links[0]) for name, (build, links) in LINKED.items()},
    "poisson": POISSON,
    "nbinom2": NBINOM2,
    "nbinom1": NBINOM1,
    "gamma": GAMMA,
    "beta": BETA,
}


def family(name: str | Family) -> Family:
    """The family of that name.

    Args:
      name: such as "gaussian", or with a link, as in "bernoulli(probit)"; or a Family, which is returned.
    Raises:
      ModelError: for a name or a link that is not in the table.
    Example:
      >>> family("gaussian").link, family("cumulative(probit)").link
      ('identity', 'probit')
    """
    if isinstance(name, Family):
        return name
    written = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*(\w+)\s*\))?\s*", str(name))
    plain, link = written.groups() if written else (name, None)
    if plain not in FAMILIES:
        raise ModelError(
            f"there is no family {name!r}",
            hint=f"Families that can be fitted: {', '.join(FAMILIES)}.",
        )
    default = FAMILIES[plain]
    if link in (None, default.link):
        return default
    links = LINKED[plain][1] if plain in LINKED else (default.link,)
    if link not in links:
        raise ModelError(
            f"the {plain} family has no link {link!r}",
            hint="Write " + " or ".join(f'"{plain}({known})"' for known in links) + ".",
        )
    return LINKED[plain][0](link)
