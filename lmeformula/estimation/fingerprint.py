"""What the numbers of a fit depend on, by name: where it is not all the same a checkpoint is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from lmeformula.checkpoint.surroundings import surroundings
from lmeformula.checkpoint.trees import digest
from lmeformula.covariance.prior import Prior
from lmeformula.design.design import Design, ResponseBlock, TermBlock
from lmeformula.design.relation import Relation
from lmeformula.design.spread import PARTS
from lmeformula.em.types import Options
from lmeformula.family import is_from_table
from lmeformula.model.compile import Model

# Fields of a design on which no number depends, or that are here by another name.
LEFT_OUT = (
    "formula", "rows", "num_missing", "reserved", "recipe", "given", "side_by_side", "shards",
)  # fmt: skip
CALLED = {
    "X": "the data of the fixed effects",
    "response": "the response",
    "terms": "the data of the random effects",
    "offsets": "the offset",
    "weights": "the weights",
    "frequency": "the frequency",
    "names": "the names of the fixed effects",
}


def fingerprint(model: Model, options: Options, choices: Mapping[str, object]) -> dict[str, str]:
    """What a fit depends on.

    Args:
      model: what is fitted.
      options: of the Monte Carlo EM engine.
      choices: other arguments of the fit, by name.
    Returns:
      By its name in words each thing, as it is where that is short, or a digest of it.
    """
    design = model.design
    found = {"the formula": str(design.formula), "the family": model.family.written}
    found |= {"the number of rows": f"{design.n:,}"}
    if design.shards is not None:
        found[PARTS] = str(len(design.shards.parts))
    found |= {name: str(value) for name, value in choices.items()}
    found |= {name: str(value) for name, value in options._asdict().items()}
    found |= {"dtype": model.dtype, "the fixed sigma": str(model.sigma)}
    found |= {"the priors": str(model.priors.given)}
    found |= {"the start": "by itself" if model.known_start is None else digest(model.known_start)}
    found |= surroundings()
    found |= {CALLED.get(name, name): digest(tree) for name, tree in _parts(design).items()}
    if not is_from_table(model.family.base):
        # Functions of the user's are known by what they do.
        found |= {"the density of the family": digest(_density(model))}
    return found


def _parts(part: Design | TermBlock | ResponseBlock) -> dict[str, Any]:
    """The fields of a record as a tree."""
    return {
        field.name: _tree(getattr(part, field.name))
        for field in fields(part)
        if field.name not in LEFT_OUT
    }


def _tree(value: Any) -> Any:
    if isinstance(value, TermBlock | ResponseBlock):
        return _parts(value)
    if isinstance(value, Prior):
        return value.name
    if isinstance(value, Relation):
        root = value.dense_root() if value.triangle is None else value.triangle.data
        return (value.name, value.levels, root)
    return tuple(map(_tree, value)) if type(value) is tuple else value


def _density(model: Model) -> tuple[Any, ...]:
    from lmeformula.likelihood.laplace.rows import row_derivatives

    stack, space = model.stack, model.space
    own = space.to_free(model.start)[space.own_slice]
    eta = stack.offset + stack.X @ model.start.beta
    return tuple(row_derivatives(model).slopes(np.asarray(eta), own))
