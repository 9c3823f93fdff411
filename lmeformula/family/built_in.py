"""The built-in families by name, and how they are written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.family.adjacent import acat
from lmeformula.family.beta_binomial import beta_binomial
from lmeformula.family.binary import bernoulli, binomial
from lmeformula.family.categorical import CATEGORICAL
from lmeformula.family.continuous import BETA, GAMMA, INVERSE_GAUSSIAN
from lmeformula.family.counts import POISSON
from lmeformula.family.gaussian import GAUSSIAN
from lmeformula.family.generalized_poisson import GENERALIZED_POISSON
from lmeformula.family.location_scale import LOGNORMAL, STUDENT
from lmeformula.family.negative_binomial import NBINOM1, NBINOM2
from lmeformula.family.ordered_beta import ORDERED_BETA
from lmeformula.family.ordinal import cumulative
from lmeformula.family.record import Family
from lmeformula.family.sequential import cratio, sratio
from lmeformula.family.thresholds import Pattern
from lmeformula.family.tweedie import TWEEDIE
from lmeformula.family.zeros import hurdle, zero_inflated

# Families with thresholds, and the patterns that these can have; the first is the default.
ORDINAL: dict[str, tuple[Callable[..., Family], tuple[Pattern, ...]]] = {
    "cumulative": (cumulative, ("flexible", "symmetric", "equidistant")),
    "sratio": (sratio, ("flexible", "equidistant")),
    "cratio": (cratio, ("flexible", "equidistant")),
    "acat": (acat, ("flexible", "equidistant")),
}

# Links of the families that have a choice; the first is the default.
BINARY = ("logit", "probit", "cloglog", "cauchit")
LINKED: dict[str, tuple[Callable[..., Family], tuple[str, ...]]] = {
    "bernoulli": (bernoulli, BINARY),
    "binomial": (binomial, BINARY),
    "beta_binomial": (beta_binomial, BINARY),
    **{name: (build, BINARY[:3]) for name, (build, _) in ORDINAL.items()},
}

FAMILIES: dict[str, Family] = {
    "gaussian": GAUSSIAN,
    **{name: build(links[0]) for name, (build, links) in LINKED.items()},
    "categorical": CATEGORICAL,
    "poisson": POISSON,
    "nbinom2": NBINOM2,
    "nbinom1": NBINOM1,
    "generalized_poisson": GENERALIZED_POISSON,
    "zero_inflated_poisson": zero_inflated("poisson"),
    "zero_inflated_nbinom2": zero_inflated("nbinom2"),
    "hurdle_poisson": hurdle("poisson"),
    "hurdle_nbinom2": hurdle("nbinom2"),
    "student": STUDENT,
    "lognormal": LOGNORMAL,
    "gamma": GAMMA,
    "inverse_gaussian": INVERSE_GAUSSIAN,
    "beta": BETA,
    "ordered_beta": ORDERED_BETA,
    "tweedie": TWEEDIE,
}

# What other packages call them, as far as letters alone do not tell: those that mean one family are taken.
OTHER_NAMES = {
    "normal": "gaussian",
    "t": "student",
    "tfamily": "student",
    "nb": "nbinom2",
    "negbin": "nbinom2",
    "negbinomial": "nbinom2",
    "negativebinomial": "nbinom2",
    "genpois": "generalized_poisson",
    "ordbeta": "ordered_beta",
    "betafamily": "beta",
    "zip": "zero_inflated_poisson",
    "zinb": "zero_inflated_nbinom2",
    "zeroinflatednegbinomial": "zero_inflated_nbinom2",
    "hurdlenegbinomial": "hurdle_nbinom2",
}
# Those that may mean others too are answered.
MAY_MEAN = {
    "logistic": "bernoulli",
    "multinomial": "categorical",
    "ordinal": "cumulative",
    "clmm": "cumulative",
    "nbinom": "nbinom2",
    "truncatedpoisson": "hurdle_poisson",
    "truncatednbinom2": "hurdle_nbinom2",
}


def _a_family(_: str, value: object) -> None:
    """A name or a record; it is the argument `family` of what is called."""
    if not isinstance(value, str | Family):
        raise kinds.refuse(
            "family", value, 'Give a name, such as "poisson", or what lf.Family returns.'
        )


@kinds.takes(name=_a_family)
def family(name: str | Family) -> Family:
    """The family of that name.

    Args:
      name: such as "gaussian", or with a link, as in "bernoulli(probit)", or, of ordered categories, with the
        pattern of their thresholds, as in "cumulative(probit, thresholds=equidistant)"; or a Family, which is
        returned. Other spellings that mean one family are taken: "Gaussian", "negbinomial",
        "binomial(link='logit')".
    Raises:
      ModelError: for a name, a link or a pattern that is not in the table.
    Example:
      >>> family("gaussian").link, family("cumulative(probit)").link
      ('identity', 'probit')
      >>> family("cumulative(thresholds=symmetric)")
      Family(cumulative(logit, thresholds=symmetric))
    """
    if isinstance(name, Family):
        return name
    plain, link, pattern = _taken_apart(name)
    if plain not in FAMILIES:
        raise ModelError(
            f"there is no family {name!r}",
            hint=f"{_guess(plain)}Families that can be fitted: {', '.join(FAMILIES)}.",
        )
    default = FAMILIES[plain]
    links = LINKED[plain][1] if plain in LINKED else (default.link,)
    if link is not None and link not in links:
        raise ModelError(
            f"the {plain} family has no link {link!r}",
            hint="Write " + " or ".join(f'"{plain}({known})"' for known in links) + ".",
        )
    if pattern is not None:
        return _with_thresholds(plain, link or default.link, pattern)
    return default if link in (None, default.link) else LINKED[plain][0](link)


def _guess(name: str) -> str:
    """The family that may be meant, in a sentence; no words where none is near."""
    folded = kinds.folded(name)
    near = [MAY_MEAN[folded]] if folded in MAY_MEAN else []
    near = near or difflib.get_close_matches(name.casefold(), FAMILIES, n=1, cutoff=0.7)
    return f'Did you mean "{near[0]}"? ' if near else ""


def _taken_apart(written: str) -> tuple[str, str | None, str | None]:
    """Name, link and thresholds of name, name(link), name(thresholds=...), name(link, thresholds=...)."""
    found = re.fullmatch(r"\s*([\w.]+)\s*\((.*)\)\s*", written)
    if found is None:
        return _meant(written.strip()), None, None
    link, pattern = None, None
    plain = _meant(found[1])
    if plain not in FAMILIES:
        return plain, link, pattern
    for place, argument in enumerate(found[2].split(",") if found[2].strip() else ()):
        key, is_option, value = (part.strip() for part in argument.partition("="))
        key, value = key.strip("'\""), value.strip("'\"")
        if is_option and key == "thresholds" and pattern is None and value:
            pattern = value
        elif is_option and key == "link" and link is None and value:
            link = value
        elif not is_option and place == 0 and key:
            link = key
        else:
            raise ModelError(
                f"the family {written!r} is not written as families are",
                hint='Write "poisson", "bernoulli(probit)", or, of ordered categories, '
                '"cumulative(logit, thresholds=equidistant)".',
            )
    return plain, link, pattern


def _meant(name: str) -> str:
    """The family that a name means where it means one; else the name."""
    if name in FAMILIES:
        return name
    known = {kinds.folded(one): one for one in FAMILIES} | OTHER_NAMES
    return known.get(kinds.folded(name), name)


def _with_thresholds(name: str, link: str, pattern: str) -> Family:
    if name not in ORDINAL:
        raise ModelError(
            f"the {name} family has no thresholds", hint=f"These have: {', '.join(ORDINAL)}."
        )
    build, patterns = ORDINAL[name]
    if pattern == patterns[0]:
        return LINKED[name][0](link)
    for known in patterns:
        if pattern == known:
            return build(link, known)
    raise ModelError(
        f"the {name} family has no {pattern} thresholds",
        hint="Write "
        + " or ".join(f'"{name}({link}, thresholds={known})"' for known in patterns)
        + ".",
    )
