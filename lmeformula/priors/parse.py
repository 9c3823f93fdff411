"""Texts such as "normal(0, 2.5)", and distributions of TFP, -> priors."""

from __future__ import annotations

import ast
import difflib
import inspect
import math
from typing import Any

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.priors.matrices import LKJ, InverseWishart, Wishart
from lmeformula.priors.positive import (
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudent,
    InverseGamma,
    LogNormal,
)
from lmeformula.priors.real import Cauchy, Normal, Student
from lmeformula.priors.record import Prior
from lmeformula.priors.shares import Beta

KINDS: dict[str, type[Prior]] = {
    kind.name: kind
    for kind in (
        Normal,
        Student,
        Cauchy,
        HalfNormal,
        HalfStudent,
        HalfCauchy,
        Exponential,
        Gamma,
        InverseGamma,
        LogNormal,
        Beta,
        LKJ,
        Wishart,
        InverseWishart,
    )
}
# As other packages call them.
ALIASES = {
    "t": "student",
    "student_t": "student",
    "halfnormal": "half_normal",
    "halft": "half_student",
    "half_t": "half_student",
    "half_student_t": "half_student",
    "halfcauchy": "half_cauchy",
    "invgamma": "inverse_gamma",
    "inv_gamma": "inverse_gamma",
    "log_normal": "lognormal",
    "invwishart": "inverse_wishart",
    "inv_wishart": "inverse_wishart",
    "lkj_corr": "lkj",
    "lkjcorr": "lkj",
}
# Distributions of TFP: their parameters in the order of ours.
OF_TFP = {
    "Normal": (Normal, ("loc", "scale")),
    "StudentT": (Student, ("df", "loc", "scale")),
    "Cauchy": (Cauchy, ("loc", "scale")),
    "HalfNormal": (HalfNormal, ("scale",)),
    "HalfStudentT": (HalfStudent, ("df", "loc", "scale")),
    "HalfCauchy": (HalfCauchy, ("loc", "scale")),
    "Exponential": (Exponential, ("rate",)),
    "Gamma": (Gamma, ("concentration", "rate")),
    "InverseGamma": (InverseGamma, ("concentration", "scale")),
    "LogNormal": (LogNormal, ("loc", "scale")),
    "Beta": (Beta, ("concentration1", "concentration0")),
    "LKJ": (LKJ, ("concentration",)),
    "CholeskyLKJ": (LKJ, ("concentration",)),
}
HOW = 'Write it as "normal(0, 2.5)", "half_student(3, 0, 2.5)", "gamma(2.5, 0)" or "lkj(2)".'


def prior(given: Any) -> Prior:
    """The prior that a text, or a distribution of TFP, says.

    Args:
      given: a text; a distribution; or a prior, which is returned.
    Raises:
      ModelError: if it says none; the message has the one that may be meant.
    Example:
      >>> prior("normal(0, 2.5)")
      Normal(mean=0.0, sd=2.5)
      >>> prior("gamma(shape = 2.5, rate = 0)").text
      'gamma(2.5, 0)'
    """
    if isinstance(given, Prior):
        return given
    if isinstance(given, str):
        return _parsed(given)
    kind = type(given)
    if kind.__module__.partition(".")[0] in ("tensorflow_probability", "tf_keras"):
        return _of_tfp(given, kind.__name__)
    raise ModelError(f"a prior is {kinds.shown(given)}", hint=HOW)


def _parsed(text: str) -> Prior:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ModelError(f"{text!r} is not a prior", hint=HOW) from None
    if isinstance(tree, ast.Name):
        tree = ast.Call(tree, [], [])
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise ModelError(f"{text!r} is not a prior", hint=HOW)
    kind = kind_of(tree.func.id)
    places = [_number(text, one) for one in tree.args]
    names = {one.arg: _number(text, one.value) for one in tree.keywords if one.arg is not None}
    if kind.name == "half_cauchy" and len(places) == 1 and not names:
        places = [0.0, *places]
    if kind.name == "half_normal" and len(places) == 2 and places[0] == 0.0:
        places = places[1:]
    signature = inspect.signature(kind)
    try:
        if len(names) < len(tree.keywords):
            raise TypeError
        bound = signature.bind(*places, **names)
    except TypeError:
        wanted = ", ".join(signature.parameters)
        raise ModelError(
            f"{text!r} does not give the numbers of {kind.name}",
            hint=f"They are {kind.name}({wanted}).",
        ) from None
    return kind(*bound.args, **bound.kwargs)


def kind_of(name: str) -> type[Prior]:
    """The kind of prior of a name.

    Raises:
      ModelError: if there is none; the message has the one that may be meant.
    """
    folded = name.casefold()
    folded = ALIASES.get(folded, folded)
    if folded in KINDS:
        return KINDS[folded]
    near = difflib.get_close_matches(folded, KINDS, n=1, cutoff=0.6)
    meant = f"Did you mean {near[0]}? " if near else ""
    raise ModelError(f"there is no prior {name!r}", hint=f"{meant}Priors: {', '.join(KINDS)}.")


def _number(text: str, tree: ast.expr) -> float:
    sign = 1.0
    while isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub | ast.UAdd):
        sign, tree = -sign if isinstance(tree.op, ast.USub) else sign, tree.operand
    if isinstance(tree, ast.Name) and tree.id.casefold() == "inf":
        return sign * math.inf
    if isinstance(tree, ast.Constant) and kinds.is_number(tree.value):
        try:
            return sign * float(tree.value)  # type: ignore[arg-type]
        except OverflowError:
            pass
    raise ModelError(f"{text!r} has something else than numbers in it", hint=HOW)


def _of_tfp(given: Any, name: str) -> Prior:
    if name not in OF_TFP:
        raise ModelError(
            f"the distribution {name} of TFP is no prior here",
            hint=f"Those that are: {', '.join(OF_TFP)}.",
        )
    kind: Any
    kind, names = OF_TFP[name]
    numbers = []
    for one in names:
        value = given.parameters.get(one)
        value = getattr(given, one, None) if value is None else value
        found = None if value is None else getattr(value, "numpy", lambda value=value: value)()
        if found is None or getattr(found, "shape", ()) != ():
            raise ModelError(
                f"the {one} of a prior {name} is {kinds.shown(found)}",
                hint="Give a distribution of a single number: each parameter it is for has it by itself.",
            )
        numbers.append(float(found))
    found_prior: Prior = kind(*numbers)
    return found_prior
