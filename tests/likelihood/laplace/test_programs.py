"""Programs of automatic derivatives are compiled once, for all data and for all values that are held."""

import numpy as np

import lmeformula as lf
from lmeformula.family import family
from lmeformula.likelihood.laplace import automatic
from lmeformula.likelihood.laplace.limits import AtLimit, held_model
from lmeformula.likelihood.laplace.rows import row_derivatives
from tests.family.single import arrays


def test_one_program_serves_all_row_counts_and_held_values():
    record = family("nbinom1")._replace(closed=None, series=None)
    before = automatic._programs.cache_info().currsize
    for n, held in ((5, 0.5), (7, 0.25), (12, 0.125)):
        counts = np.arange(float(n))
        response = arrays("nbinom1", counts)
        eta = np.full(n, 0.3)
        whole = automatic.automatic(record, response)
        data = {"y": counts, "g": np.arange(n) % 3}
        model = lf.compile(lf.design("y ~ 1 + (1 | g)", data), record)
        at_limit = AtLimit(0, held, record.limits[0])
        simpler = row_derivatives(held_model(model, (at_limit,)))
        own, none = np.array([held]), np.zeros(0)
        assert simpler.slopes(eta, none).value == whole.slopes(eta, response, own).value
        deep, left = whole.depths(eta, response, own), simpler.depths(eta, none)
        np.testing.assert_array_equal(left.third.ravel(), deep.third)
        assert left.own.shape == (0,)
        assert left.own_first.shape == (0, n)
    assert automatic._programs.cache_info().currsize <= before + 1
    shapes = tuple(array.shape[1:] for array in response)
    assert [
        program.experimental_get_tracing_count()
        for program in automatic._programs(record, 1, 1, shapes)
    ] == [1, 1]
