"""What families of ordered categories have in common, whichever chance their link is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design
from lmeformula.family import papers
from lmeformula.family.categories import categories, category_names, ordered_response
from lmeformula.family.links import LINKS
from lmeformula.family.own import Own
from lmeformula.family.record import Arrays, Family
from lmeformula.family.thresholds import Pattern, threshold_own
from lmeformula.startup import tf, tfp


def ordered_family(
    name: str,
    link: str,
    thresholds: Pattern,
    *,
    start: Callable[[Floats], Floats],
    logits: Callable[[Tensor, tuple[Tensor, ...]], Sequence[Tensor]],
    probabilities: Callable[[Floats, Floats], Floats],
    is_ordered: bool = False,
    **others: Any,
) -> Family:
    """A family whose own parameters are the thresholds between its categories.

    Args:
      name: of the family.
      link: name of its link.
      thresholds: their pattern.
      start: (K,) how often each category is seen -> (K - 1,) thresholds to start from.
      logits: (eta (..., n), thresholds) -> K tensors (..., n), log chances but for what they share.
      probabilities: (eta (n,), thresholds (K - 1,)) -> (n, K) chances.
      is_ordered: whether each threshold must be larger than the one before.
      others: further fields of the record.
    """

    def own(design: Design) -> Own:
        codes, levels = categories(design, name)
        counts = np.bincount(codes, minlength=len(levels)).astype(np.float64)
        return threshold_own(name, thresholds, levels, start(counts), is_ordered=is_ordered)

    def distribution(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
        chances = tf.stack(logits(eta, own), axis=-1)
        return tfp.distributions.Categorical(logits=chances, dtype=eta.dtype)

    def working(response: Arrays) -> Floats:
        # The middle of each category's share of a latent distribution.
        codes, shares = np.argmax(response[1], axis=1), response[1].mean(axis=0)
        # A category without rows, as drawn responses have some, is at no end of the scale.
        middles = (np.cumsum(shares) - 0.5 * shares)[codes]
        return np.asarray(LINKS[link].forward(middles))

    fields: dict[str, Any] = {"working": working, "paper": papers.ORDINAL_TUTORIAL, **others}
    return Family(
        name=name,
        link=link,
        response=ordered_response(name),
        distribution=distribution,
        mean=lambda eta, own: probabilities(eta, own) @ np.arange(1.0, len(own) + 2.0),
        own=own,
        has_intercept=False,
        categories=category_names,
        probabilities=probabilities,
        thresholds=thresholds,
        **fields,
    )
