"""What start values of a joint distribution must be, and what a design must be to have one."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.table import KNOWN
from lmeformula.design.design import Design, TermBlock
from lmeformula.errors import ModelError
from lmeformula.family import Family
from lmeformula.formula.kinds import KINDS
from lmeformula.model.params import Params


def check_start(design: Design, start: Params, rule: Family, sigma: float | None) -> None:
    """Check that start values, family and fixed sigma fit the design."""
    if len(start.beta) != len(design.names):
        raise ModelError(
            f"the start values have {len(start.beta)} fixed effects, "
            f"and the design {len(design.names)}"
        )
    if len(start.covariances) != len(design.terms):
        raise ModelError(
            f"the start values have {len(start.covariances)} covariance matrices, and the design "
            f"{len(design.terms)} random-effects terms"
        )
    for term, covariance in zip(design.terms, start.covariances, strict=True):
        check_term(term, covariance)
    blocks = [term.block for term in design.terms if term.block]
    if len(blocks) > len(set(blocks)):
        raise ModelError(
            "terms that share a covariance, as in (x |ID| g), have no joint distribution here",
            hint="Write them as one term, or without the shared label.",
        )
    if sigma is not None and not rule.is_normal:
        raise ModelError(f"the {rule.name} family has no residual standard deviation to fix")
    used = sigma if sigma is not None or not len(start.own) else float(start.own[0])
    if rule.is_normal and not (used is not None and np.isfinite(used) and used > 0):
        raise ModelError(f"the residual standard deviation must be positive, not {used}")


def check_term(term: TermBlock, covariance: Floats) -> None:
    """Check a term's start covariance and its structure."""
    k = len(term.columns)
    if np.shape(covariance) != (k, k):
        raise ModelError(
            f"the start covariance of term {term.name!r} has shape {np.shape(covariance)}, "
            f"not {(k, k)}"
        )
    if not np.linalg.eigvalsh(covariance)[0] >= -1e-8 * max(np.trace(covariance), 1e-300):
        raise ModelError(
            f"the start covariance of term {term.name!r} is not one: it has negative variances",
            hint="Start from a positive semidefinite covariance.",
        )
    if term.prior.has_df and k > 1:
        raise ModelError(
            f"the {k} coefficients of term {term.name!r} have a t distribution, of which there is no joint "
            "distribution here",
            hint="Write them as terms of their own: (x || gr(...)).",
        )
    if (term.covariance, term.homogeneous) not in KNOWN:
        raise ModelError(
            f"the covariance structure {term.covariance!r} of term {term.name!r} has no joint "
            "distribution here",
            hint=f"Use one of {', '.join(KINDS)}: (x | g) is unstructured.",
        )
