"""Frequencies of responses: every row counted once, bins of equal content, intervals that hold what is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lmeformula.checking.predictive import frequencies
from lmeformula.errors import ModelError
from tests.prediction.families import CASES, ROWS, true_fit
from tests.store.fits import fitted


@pytest.mark.parametrize("name", CASES)
def test_true_models_have_the_frequencies_that_they_draw(name):
    """2,000 rows against 99 draws at the same effects: 98 % intervals, each missed with a chance of 2 to 3 %.

    More than 2 + 5 % of the bins are missed with a chance below 0.02 for up to 60 bins, 0.0002 for 4.
    """
    fit = true_fit(name)
    found = frequencies(fit, num_draws=99, level=0.98, re_form=None)
    assert found.observed.sum() == ROWS
    outside = (found.observed < found.lower) | (found.observed > found.upper)
    # Binomial: more than 5 % and 2 bins have a chance below 0.002, whether there are 4 bins or 60.
    assert outside.sum() <= 2 + 0.05 * len(outside)
    assert (found.lower <= found.middle).all()
    assert (found.middle <= found.upper).all()


def test_each_category_and_each_count_has_a_bin():
    found = frequencies(true_fit("cumulative"), num_draws=5)
    assert found.names == ("low", "fair", "good", "best")
    counts = frequencies(true_fit("poisson"), num_draws=5)
    y = true_fit("poisson").model.design.y
    assert counts.names[:3] == ("0", "1", "2")
    np.testing.assert_array_equal(counts.observed[:5], np.bincount(y.astype(int))[:5])


def test_bins_of_large_counts_hold_equally_many():
    fit = true_fit("poisson")
    y = fit.model.design.y * 17.0
    design = replace(fit.model.design, response=replace(fit.model.design.response, values=y))
    found = frequencies(replace(fit, model=replace(fit.model, design=design)), num_draws=5)
    # Zero stands apart.
    assert found.edges[:2].tolist() == [-0.5, 0.5]
    assert found.observed[0] == (y == 0).sum()
    widths = np.diff(found.edges)[2:]
    assert (widths == widths[0]).all()
    assert widths[0] == np.round(widths[0]) > 1
    assert found.edges[0] % 1 == 0.5
    assert found.names == ()
    assert found.observed.sum() == ROWS
    assert found.edges[-1] > y.max()


def test_a_wrong_model_is_outside():
    fit = true_fit("poisson")
    wrong = replace(fit, params=fit.params._replace(beta=fit.params.beta + np.array([0.5, 0.0])))
    found = frequencies(wrong, num_draws=99, level=0.98, re_form=None)
    assert found.observed[0] > found.upper[0]


@pytest.mark.parametrize("options", [{"num_draws": 0}, {"level": 0.0}, {"re_form": "some"}])
def test_refusals(options):
    with pytest.raises(ModelError):
        frequencies(fitted("poisson"), **options)
