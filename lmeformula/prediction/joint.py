"""A fit's joint distribution of new rows at the estimates, and what its parts are for the fitted levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows, TermBlock
from lmeformula.design.rebuild import rebuild
from lmeformula.fit import FittedModel
from lmeformula.model.joint import build_joint
from lmeformula.model.notation import names_of
from lmeformula.prediction.distribution import needs_response, response_arrays


def joint_for(fit: FittedModel, newdata: Any, *, offset: Any = None, weights: Any = None) -> Any:
    """The joint distribution of the random effects and of new responses, at the estimates.

    The parts of the random effects have the levels of the fit, in their order, and after them those of the new
    rows that the fit has not seen. With draws of them from the fit's posterior, or with `fit.joint_effects`,
    `sample_distributions` has the posterior predictive distribution of the new rows.

    Args:
      fit: the fitted model.
      newdata: a table with the columns that the formula uses; the response is needed only where trials or
        weights come with it. Rows with missing values are left out.
      offset: the new rows' offset where the fit was given an array.
      weights: the same for prior weights.
    Returns:
      The tfd.JointDistributionNamed, with variables of its own.
    Raises:
      FormulaDataError: if a column is absent or of another kind.
      ModelError: for models that have no joint distribution here.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("Dyestuff"))
      >>> joint = fit.joint_for({"Batch": ["A", "F", "new"]})
      >>> {name: tuple(shape) for name, shape in joint.event_shape.items()}
      {'Batch': (7,), 'Yield': (3,)}
      >>> effects = {"Batch": np.append(fit.joint_effects["Batch"], 0.0)}
      >>> parts, _ = joint.sample_distributions(value=effects, seed=1)
      >>> parts["Yield"].mean().numpy().round().tolist()
      [1511.0, 1485.0, 1528.0]
    """
    design = fit.model.design
    rows = rebuild(design, newdata, sizes=needs_response(fit), offset=offset, weights=weights)
    return build_joint(
        _design_of(design, rows),
        fit.params,
        family=fit.model.family,
        sigma=fit.model.space.held_sd,
        dtype=fit.model.dtype,
        rows=response_arrays(fit, rows),
        fitted=design,
    ).distribution


def joint_effects(fit: FittedModel) -> dict[str, Floats]:
    """Posterior means of the random effects, (l,) or (l, k) each, by their parts of the joint distribution."""
    parts = names_of(fit.model.design).terms
    return {
        part: modes[:, 0].copy() if modes.shape[1] == 1 else modes.copy()
        for part, modes in zip(parts, fit.modes, strict=True)
    }


def _design_of(design: Design, rows: NewRows) -> Design:
    """The new rows as a design of their own, levels that the fit has not seen behind those that it has."""
    terms = tuple(_with_unseen(term, rows.unseen.get(term.group, ())) for term in rows.terms)
    return replace(rows, terms=terms).in_place_of(design)


def _with_unseen(term: TermBlock, unseen: tuple[str, ...]) -> TermBlock:
    known = len(term.levels)
    index = np.where(term.index < 0, known - 1 - term.index, term.index).astype(np.int32)
    return replace(term, levels=(*term.levels, *unseen), index=index)
