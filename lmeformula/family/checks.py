"""What the responses of the families must look like, and what is said of others."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.design.design import Design, ResponseBlock
from lmeformula.errors import ModelError


def response_of(design: Design) -> ResponseBlock:
    """The response; a design without one is refused."""
    if design.response is None:
        raise ModelError(
            "a one-sided formula has no response",
            hint="Write the response before the tilde, for example `y ~ x + (1|g)`.",
        )
    return design.response


def unsuitable(design: Design, family: str, needs: str, hint: str) -> ModelError:
    """The error for a response that a family cannot take."""
    name = response_of(design).name
    return refused(
        design, f"the {family} family needs {needs}, and the response {name!r} is not that", hint
    )


def refused(design: Design, problem: str, hint: str) -> ModelError:
    """An error that points to the response in the formula."""
    source = design.formula.response
    span = None if source is None else source.span
    return ModelError(problem, formula=design.formula.text, span=span, hint=hint)


def check_rows(design: Design, family: str, wrong: Mask, needs: str, hint: str = "") -> None:
    """Refuse a response some of whose rows (n,) are wrong, and say how many and which is the first."""
    count = int(wrong.sum())
    if count:
        first = int(np.argmax(wrong))
        number = f"{count:,} row{'s are' if count > 1 else ' is'} not"
        value = np.asarray(response_of(design).values[first]).tolist()
        where = f"{number}; the first of them is row {first} of those used, with {value}."
        raise unsuitable(design, family, needs, f"{where} {hint}".rstrip())


REPEATED = "Repeat the rows instead, or say how many identical rows each stands for: frequency=..."


def refuse_weights(design: Design, family: str, hint: str = REPEATED) -> None:
    """Refuse prior weights."""
    if design.weights is not None:
        raise ModelError(f"the {family} family does not take prior weights", hint=hint)


def numbers(design: Design, family: str, needs: str, hint: str) -> Floats:
    """The response (n,) if it is one number a row; `needs` says what kind."""
    response = response_of(design)
    if (
        response.kind not in ("numeric", "logical")
        or response.values.ndim != 1
        or response.trials is not None
    ):
        raise unsuitable(design, family, needs, hint)
    return response.values


def residuals(design: Design, values: Floats) -> Floats:
    """(n,) what least squares by the fixed effects leave of values on the scale of the predictor."""
    target = values - design.offset
    return np.asarray(target - design.X @ np.linalg.lstsq(design.X, target, rcond=None)[0])
