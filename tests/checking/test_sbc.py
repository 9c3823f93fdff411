"""Simulation-based calibration: it passes exact draws from a posterior, and finds those from another one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from arviz.stats.ecdf_utils import ecdf_confidence_band

import lmeformula as lf
from lmeformula.checking import sbc as module
from lmeformula.checking.sbc_record import Calibration
from lmeformula.em.outcome import Outcome
from lmeformula.model.params import Params

# Rows, one a group, with these known standard deviations of the residual: mean and sd are estimated.
KNOWN = np.array([0.6, 0.9, 1.2, 0.7, 1.0, 0.8, 1.1, 0.5])
ROWS = {
    "y": np.linspace(-1.0, 1.0, len(KNOWN)),
    "g": list("abcdefgh"),
    "w": 1.0 / KNOWN**2,
}
PRIORS = {"Intercept": "normal(0, 2)", "sd(g)": "half_normal(1.5)"}
NUM_RANKS = 99
# A right posterior has a p-value below this in one of a thousand runs; a run is the same each time.
RARE = 0.001


def model(**options):
    return lf.compile(lf.design("y ~ 1 + (1 | g)", ROWS, weights="w"), sigma=1.0, **options)


def exactly(prior_sd: float):
    """What draws from the exact posterior under the priors, of which that of the mean has this sd.

    Given sd(g) all is normal; that is drawn on a grid.
    """

    def fitted(model, method, effort, seed):
        random = np.random.default_rng(seed)
        y, grid = model.design.y, np.linspace(0.0, 8.0, 2001)[1:]
        spread = KNOWN**2 + grid[:, None] ** 2
        precision = prior_sd**-2 + (1.0 / spread).sum(axis=1)
        mean = (y / spread).sum(axis=1) / precision
        density = -0.5 * (np.log(spread).sum(axis=1) + np.log(precision) + (grid / 1.5) ** 2)
        density -= 0.5 * ((y**2 / spread).sum(axis=1) - precision * mean**2)
        chances = np.exp(density - density.max())
        place = random.choice(len(grid), NUM_RANKS, p=chances / chances.sum())
        sd = grid[place] + (random.random(NUM_RANKS) - 0.5) * grid[0]
        mu = mean[place] + random.normal(size=NUM_RANKS) / np.sqrt(precision[place])
        share = sd[:, None] ** 2 / (sd[:, None] ** 2 + KNOWN**2)
        effects = share * (y - mu[:, None])
        effects += np.sqrt(share) * KNOWN * random.normal(size=effects.shape)
        space = model.space
        psi = [
            space.to_free(Params(np.array([a]), (np.array([[b**2]]),), model.start.own))
            for a, b in zip(mu, sd, strict=True)
        ]
        draws = SimpleNamespace(
            psi=np.array(psi)[None],
            effects=(effects[None, :, :, None],),
            chosen=lambda count: [(0, number) for number in range(count)],
        )
        params = model.start
        return SimpleNamespace(model=model, params=params, draws=draws, outcome=Outcome.SAMPLED)

    return fitted


def calibrated(monkeypatch, prior_sd: float, n: int) -> Calibration:
    monkeypatch.setattr(module, "_fitted", exactly(prior_sd))
    return lf.sbc(model(priors=PRIORS), n, seed=5, progress=False)


def test_exact_draws_rank_evenly(monkeypatch):
    found = calibrated(monkeypatch, 2.0, 40)
    assert found.names == ("Intercept", "sd(g)", "Intercept|g a", "log-likelihood")
    assert found.ranks.shape == (40, 4)
    assert found.p_value > RARE
    # Means of uniform ranks are within 4.5 of their standard errors of one half.
    means = found.to_frame()["mean_rank"]
    assert (np.abs(means - 0.5) < 4.5 / np.sqrt(12 * 40)).all()
    assert not found.was_interrupted
    # The first simulations are the same, whatever their number.
    few = calibrated(monkeypatch, 2.0, 2)
    assert np.array_equal(few.ranks, found.ranks[:2])
    assert "no sign of a wrong posterior" in repr(found)


def test_another_prior_than_that_of_the_simulation_is_found(monkeypatch):
    found = calibrated(monkeypatch, 0.3, 25)
    assert found.p_value < RARE * 10
    assert found.to_frame().loc["Intercept", ["p_ecdf", "p_chi2"]].max() < RARE
    assert "not calibrated" in repr(found)
    ax = found.plot()
    assert "Intercept" in [text.get_text() for text in ax.get_legend().get_texts()]
    with pytest.raises(lf.ModelError, match="no quantity 'x'"):
        found.plot(names=["x"])


def test_an_interrupt_leaves_what_there_is(monkeypatch):
    real, calls = exactly(2.0), []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "_fitted", interrupted)
    found = lf.sbc(model(priors=PRIORS), 5, seed=5, progress=False)
    assert (found.num_sims, found.was_interrupted) == (2, True)
    assert "of 5 asked for" in repr(found)


def test_a_checkpoint_goes_on_to_the_same_ranks(monkeypatch, tmp_path):
    whole = calibrated(monkeypatch, 2.0, 3)
    real, calls = exactly(2.0), []

    def killed(*given):
        calls.append(given)
        if len(calls) == 3:
            raise MemoryError
        return real(*given)

    monkeypatch.setattr(module, "_fitted", killed)
    folder = tmp_path / "calibration"
    with pytest.raises(MemoryError):
        lf.sbc(model(priors=PRIORS), 3, seed=5, progress=False, checkpoint=folder)
    found = lf.sbc(model(priors=PRIORS), 3, seed=5, progress=False, checkpoint=folder)
    assert np.array_equal(found.ranks, whole.ranks)
    assert len(calls) == 4


@pytest.mark.filterwarnings("ignore:Assuming variable is continuous")
def test_p_values_are_those_of_uniform_ranks():
    """In many sets of uniform ranks p-values below 0.1 are a tenth; the band is ArviZ's."""
    random = np.random.default_rng(2)
    ranks = random.integers(0, NUM_RANKS + 1, (50, 400))
    nothing = np.zeros((50, 400))
    found = Calibration(tuple(map(str, range(400))), ranks, NUM_RANKS, nothing, (), 0, 50)
    for name in ("p_ecdf", "p_chi2"):
        # Ties of counts leave tests at or below their level.
        share = (found.to_frame()[name] <= 0.1).mean()
        assert 0.02 < share < 0.1 + 4.5 * np.sqrt(0.1 * 0.9 / 400)
    steps, low, high = found.band()
    lower, upper = ecdf_confidence_band(
        50,
        steps,
        steps,
        prob=0.95,
        method="simulated",
        num_trials=4000,
        random_state=np.random.RandomState(1),
    )
    assert np.abs(low - lower).max() <= 1.5 / 50
    assert np.abs(high - upper).max() <= 1.5 / 50


REFUSED = {
    "no prior": ({"priors": {"sd(g)": "half_normal(1)"}}, "no prior of Intercept"),
    "none at all": ({}, "no prior of Intercept"),
    "improper": ({"priors": PRIORS | {"sd(g)": "gamma(2, 0)"}}, "improper"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_priors_that_cannot_be_drawn_from_are_refused(what):
    options, words = REFUSED[what]
    with pytest.raises(lf.ModelError, match=words):
        lf.sbc(model(**options), 3)


def test_rows_that_are_not_one_observation_each_are_refused():
    rows = {"k": [1, 0, 2, 3], "g": list("aabb"), "n": [2, 1, 1, 3]}
    priors = {"Intercept": "normal(0, 1)"}
    design = lf.design("k ~ 1 + (1 | g)", rows, frequency="n")
    with pytest.raises(lf.ModelError, match="by their frequency"):
        lf.sbc(lf.compile(design, "poisson", priors=priors), 3)
    design = lf.design("k ~ 1 + (1 | g)", rows, weights="n")
    with pytest.raises(lf.ModelError, match="prior weights"):
        lf.sbc(lf.compile(design, "poisson", priors=priors), 3)


def test_more_ranks_than_draws_are_refused(monkeypatch):
    real = exactly(2.0)

    def few(*given):
        fit = real(*given)
        fit.draws.chosen = lambda count: [(0, number) for number in range(40)]
        return fit

    monkeypatch.setattr(module, "_fitted", few)
    with pytest.raises(lf.ModelError, match="num_ranks=40 or fewer"):
        lf.sbc(model(priors=PRIORS), 3, progress=False)


def test_draws_by_nuts_are_those_of_the_posterior():
    """The whole: a model whose residual is estimated too."""
    design = lf.design("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    priors = {"Intercept": "normal(1500, 100)", "sd": "half_normal(50)", "sigma": "half_normal(50)"}
    found = lf.sbc(
        lf.compile(design, priors=priors), 20, seed=1, num_warmup=100, num_draws=100, progress=False
    )
    assert found.p_value > RARE


def test_draws_of_an_ordinal_model_are_those_of_its_posterior():
    """Thresholds are drawn in their order, categories without rows among the responses included."""
    random = np.random.default_rng(6)
    rows = {"x": random.normal(size=40), "g": list("abcdefgh") * 5, "y": [1, 2, 3, 4] * 10}
    priors = {"thresholds": "normal(0, 1.5)", "b": "normal(0, 1)", "sd": "half_normal(1)"}
    ordinal = lf.compile(lf.design("y ~ x + (1 | g)", rows), "cumulative", priors=priors)
    found = lf.sbc(ordinal, 20, seed=1, num_warmup=150, num_draws=150, progress=False)
    assert found.names[:3] == ("x", "sd(g)", "1|2")
    assert found.p_value > RARE
