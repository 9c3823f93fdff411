"""Programs of automatic derivatives are compiled once, for all data and for all values that are held."""

import numpy as np

from lmeformula.family import family
from lmeformula.family.limits import hold
from lmeformula.likelihood.laplace import automatic
from tests.family.single import arrays


def test_one_program_serves_all_row_counts_and_held_values():
    record = family("nbinom1")
    before = automatic._programs.cache_info().currsize
    for n, held in ((5, 0.5), (7, 0.25), (12, 0.125)):
        counts = np.arange(float(n))
        response = arrays("nbinom1", counts)
        eta = np.full(n, 0.3)
        whole = automatic.automatic(record, response)
        simpler = automatic.automatic(hold(record, ((0, held),)), response)
        own = np.array([held])
        assert (
            simpler.slopes(eta, response, np.zeros(0)).value
            == whole.slopes(eta, response, own).value
        )
        deep = whole.depths(eta, response, own)
        left = simpler.depths(eta, response, np.zeros(0))
        np.testing.assert_array_equal(left.third, deep.third)
        assert left.own.shape == (0,)
        assert left.own_first.shape == (0, n)
    assert automatic._programs.cache_info().currsize <= before + 1
    shapes = tuple(array.shape[1:] for array in response)
    assert [
        program.experimental_get_tracing_count()
        for program in automatic._programs(record, 1, 1, shapes)
    ] == [1, 1]
