"""What a part answers when the Laplace approximation asks it; `shared_rows` has the names of what it holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmeformula.algebra.orthogonal import orthogonal
from lmeformula.algebra.shared import weighted_products
from lmeformula.arrays import Floats
from lmeformula.design.design import TermBlock
from lmeformula.family import Depths, Family
from lmeformula.family.own import Scale
from lmeformula.likelihood.laplace.row_sums import Deeper, Look, RowsHere
from lmeformula.likelihood.laplace.rows import derivatives_of, stacked_form
from lmeformula.model.stack import stack
from lmeformula.rows.parts import Part


class _Weighted(NamedTuple):
    """See `Weighted`."""

    eta: Floats
    first: Floats
    weights: Floats


def stacked(part: Part, units: tuple[float, ...]) -> tuple[Any, int]:
    """The stack, to be held; and how many rows it has."""
    found = stack(part.rows, np.array(units))
    return found, len(found.offset)


def terms(part: Part) -> tuple[TermBlock, ...]:
    """The terms of the stack."""
    terms: tuple[TermBlock, ...] = part.held["stack"].terms
    return terms


def own_columns(part: Part) -> tuple[Any, Floats]:
    """Orthogonal columns that are the part's own, where weights leave any, and R."""
    own = part.held["stack"]
    if own.mixture.num_predictors > 1 or own.times is not None:
        return None, own.triangle()
    Q, R = orthogonal(own.X)
    return Q, R


def mixed(part: Part, R: Floats, mixed: Floats | None) -> tuple[Floats, None]:
    """The part's rows of the columns of all."""
    own, Q = part.held["stack"], part.held["Q"]
    if Q is None:
        return np.asarray(np.linalg.solve(R.T, own.X.T).T, float), None
    part.held["Q"] = None
    return Q if mixed is None else Q @ mixed, None


def rows(part: Part, family: Family, scale: Scale) -> tuple[Any, None]:
    """Derivatives of the log density, to be held."""
    own = part.held["stack"]
    response = family.response(part.rows)
    form = stacked_form(family, response, own.mixture, part.rows.frequency)
    return derivatives_of(form, response, scale, own.mixture), None


def _here(part: Part, columns: str) -> RowsHere:
    own = part.held["stack"]
    X = own.X if columns == "X" else part.held["mixed"]
    return RowsHere(part.held["plan"], X, own.offset, part.held["rows"])


def _there(part: Part) -> _Weighted:
    look: Look = part.held["look"]
    return _Weighted(look.eta, look.first, part.held["weights"])


def _joined(rest: Floats, lead: Floats) -> Floats:
    return np.concatenate([lead, rest])


def look(
    part: Part, columns: str, beta: Floats, own: Floats, rest: Floats, lead: Floats
) -> tuple[Look, tuple[float, Floats]]:
    """A look at effects, to be held; the log density there, and Z' of its first derivatives."""
    here = _here(part, columns)
    found = here.look_at(beta, _joined(rest, lead), own)
    return found, (found.value, here.pulls(found))


def in_beta(part: Part, columns: str) -> Floats:
    """See `RowSums`."""
    return _here(part, columns).in_beta(part.held["look"])


def weigh(part: Part, is_held: bool) -> tuple[Any, tuple[Floats, tuple[Floats, ...]]]:
    """Z'WZ by the weights of the look, or by such as are nowhere negative, to be held beside these."""
    here = _here(part, "X")
    weights = here.weights(part.held["look"])
    part.held["weights"] = here.held(weights) if is_held else weights
    return weighted_products(part, part.held["weights"])


def depths(part: Part, own: Floats) -> tuple[Depths, tuple[Floats, Floats]]:
    """Further derivatives, to be held; those in own parameters, summed."""
    found = _here(part, "X").depths(part.held["look"], own)
    return found, (found.own, found.own_own)


def through(part: Part, rest: Floats, lead: Floats) -> Floats:
    """See `RowSums`."""
    return _here(part, "X").through(_there(part), _joined(rest, lead))


def complete(part: Part, columns: str) -> tuple[Floats, Floats]:
    """See `RowSums`."""
    return _here(part, columns).complete(_there(part), part.held["depths"])


def deeper(part: Part, columns: str) -> Deeper:
    """See `RowSums`, by the leverages that are held."""
    here = _here(part, columns)
    return here.deeper(_there(part), part.held["depths"], part.held["leverages"])


def along(part: Part, columns: str, rest: Floats, lead: Floats) -> Deeper:
    """See `RowSums`."""
    here = _here(part, columns)
    return here.along(_there(part), part.held["depths"], _joined(rest, lead))


def bent(
    part: Part, columns: str, own: Floats, rest: Floats, lead: Floats
) -> tuple[Floats, Floats]:
    """See `RowSums`."""
    here = _here(part, columns)
    return here.bent(_there(part), part.held["depths"], own, _joined(rest, lead))
