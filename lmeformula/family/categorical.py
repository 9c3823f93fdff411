"""Categories without an order: a softmax against the first one, with a linear predictor for each other.

The chance of category k is exp(eta_k) over the sum of all, and eta is zero for the reference. One formula gives
the columns of all predictors; each has coefficients of its own.

Reference: Agresti (2013), Categorical Data Analysis, 3rd ed., section 8.1, baseline-category logits.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design, LinearPredictor
from lmeformula.errors import ModelError
from lmeformula.family import papers
from lmeformula.family.categories import indicators
from lmeformula.family.checks import refuse_weights, response_of, unsuitable
from lmeformula.family.predicted import predicted_of
from lmeformula.family.record import Arrays, Family
from lmeformula.family.series import Series, Terms
from lmeformula.startup import tf, tfp


def category_levels(design: Design) -> tuple[str, ...]:
    """The names of the response's categories, the reference first."""
    return response_of(design).levels


def _response(design: Design) -> Arrays:
    """The category of each row, from 0, and its indicators (n, K + 1)."""
    block = response_of(design)
    if block.kind not in ("categorical", "ordered"):
        raise unsuitable(
            design,
            "categorical",
            "categories",
            'Make the column a categorical, or text; for yes and no use family="bernoulli".',
        )
    refuse_weights(design, "categorical")
    codes = block.values.astype(np.int64)
    if len(block.levels) < 3:
        raise unsuitable(
            design,
            "categorical",
            "three categories or more",
            'For two of them use family="bernoulli".',
        )
    return codes.astype(np.float64), indicators(design, codes, len(block.levels))


def _parts(design: Design) -> tuple[LinearPredictor, ...]:
    for further in design.predictors[1:]:
        predicted_of(CATEGORICAL, further.name)  # refuses it
    block, counts = response_of(design), _response(design)[1].sum(axis=0)
    if not counts.all():
        absent = block.levels[int(np.flatnonzero(counts == 0)[0])]
        raise ModelError(
            f"no row has the category {absent!r} of the response {block.name!r}",
            hint="A category without rows has no coefficients: remove it from the categories.",
        )
    return tuple(
        LinearPredictor(level, f"{{}}[{level}]", design) for level in category_levels(design)[1:]
    )


def _log_shares(design: Design) -> Floats:
    """(K,) logarithms of how often each category is seen, over how often the reference is."""
    shares = _response(design)[1].mean(axis=0)
    return np.asarray(np.log(shares[1:] / shares[0]))


def _working(response: Arrays) -> Floats:
    reference, first = response[1][:, 0], response[1][:, 1]
    centre = np.log(first.mean() / reference.mean()) - first.mean() + reference.mean()
    return np.asarray(centre + first - reference)


def _no_mean(eta: Floats, own: Floats) -> Floats:
    raise ModelError(
        "categories without an order have no mean",
        hint='Predict their chances, fit.predict(kind="prob"); of residuals there are those of '
        'kind="quantile".',
    )


def _density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    indicators = response[1]
    chosen = sum(indicators[:, k + 1, None] * eta[k] for k in range(eta.shape[0]))
    logits = tf.concat([tf.zeros_like(eta[:1]), eta], axis=0)
    return chosen - tf.reduce_logsumexp(logits, axis=0)


def _series(etas: Sequence[Series], response: Arrays, own: Sequence[Series]) -> Series:
    """By the chances p of the categories, and of all others; each predictor is a variable."""
    space, logits = etas[0].space, np.stack([eta.value for eta in etas])
    top = np.maximum(logits.max(axis=0), 0.0)
    grown = np.exp(np.vstack([-top, logits - top]))
    total = grown.sum(axis=0)
    p, indicators = grown[1:] / total, response[1].T
    # One less a chance that is nearly one has no digits.
    rest = [np.delete(grown, a + 1, axis=0).sum(axis=0) / total for a in range(len(etas))]
    chosen = np.sum(indicators[1:] * (logits - top), axis=0) - indicators[0] * top
    terms: Terms = {}
    for a, b, c in itertools.combinations_with_replacement(range(len(etas)), 3):
        if a == b == c:
            of_rest = np.where(indicators[a + 1] > 0.0, rest[a], -p[a])
            terms[a,], terms[a, a] = of_rest, -0.5 * p[a] * rest[a]
            third = -p[a] * rest[a] * (rest[a] - p[a]) / 6.0
        elif a == b or b == c:
            twice, once = (a, c) if a == b else (c, a)
            terms[a, c] = p[a] * p[c]
            third = 0.5 * p[twice] * p[once] * (rest[twice] - p[twice])
        else:
            third = -2.0 * p[a] * p[b] * p[c]
        if space.order > 2:
            terms[a, b, c] = third
    return Series(space, chosen - np.log(total), terms)


def _distribution(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    logits = tf.concat([tf.zeros_like(eta[..., :1, :]), eta], axis=-2)
    return tfp.distributions.Categorical(logits=tf.linalg.matrix_transpose(logits), dtype=eta.dtype)


def _probabilities(eta: Floats, own: Floats) -> Floats:
    logits = np.vstack([np.zeros((1, eta.shape[1])), eta])
    return np.asarray(scipy.special.softmax(logits, axis=0).T)


@functools.cache
def _grown(names: tuple[str, ...]) -> Family:
    """The family with the predictors of these categories."""
    return CATEGORICAL._replace(
        distribution=_distribution,
        log_density=_density,
        series=_series,
        probabilities=_probabilities,
        predictors=names,
        starts=lambda design: tuple(_log_shares(design)[1:]),
        grown_from=CATEGORICAL,
        expand=None,
        grow=None,
    )


def _not_yet(*_: Any) -> Any:
    raise ModelError(
        "the categorical family has a predictor for each category, which its response tells",
        hint='Compile it with a design: lf.compile(design, "categorical").',
    )


CATEGORICAL = Family(
    name="categorical",
    link="logit",
    response=_response,
    distribution=_not_yet,
    mean=_no_mean,
    working=_working,
    categories=category_levels,
    # A design tells them.
    predictors=(),
    expand=_parts,
    grow=_grown,
    paper=papers.CATEGORICAL,
    measure="categories",
)
