"""Counts over time and space: a smooth of the day of the year, a surface of the place, and effects of sites.

python examples/smooths.py
"""

import numpy as np
import pandas as pd

import lmeformula as lf

SEASON = 's(day, bs = "cc", k = 9)'


def birds() -> pd.DataFrame:
    """Birds counted at forty sites on some days: more of them in early summer, and towards the north-west."""
    r = np.random.default_rng(5)
    sites = pd.DataFrame({"site": [f"s{i:02d}" for i in range(40)]})
    sites["east"] = r.uniform(0.0, 10.0, len(sites)).round(2)
    sites["north"] = r.uniform(0.0, 5.0, len(sites)).round(2)
    sites["effect"] = r.normal(scale=0.5, size=len(sites))
    data = sites.merge(pd.DataFrame({"visit": range(9)}), how="cross")
    data["day"] = r.integers(1, 366, len(data))
    season = 1.2 * np.exp(-(((data["day"] - 160.0) / 45.0) ** 2))
    place = 0.15 * data["north"] - 0.08 * data["east"]
    data["birds"] = r.poisson(np.exp(0.4 + season + place + data["effect"]))
    return data.drop(columns="effect")


def main() -> None:
    """Fit the model, predict a site that nobody visited, and test the season."""
    data = birds()
    # The year ends where it begins: a cyclic basis. East and north have one scale: one surface of both.
    formula = f"birds ~ {SEASON} + s(east, north, k = 12) + (1 | site)"
    print(lf.parse(formula).explain(), "\n")
    fit = lf.fit(formula, data, "poisson", method="laplace")
    print(fit.summary(), "\n")

    # Curves are the population's: a new site has them, and no effect of a site.
    new = pd.DataFrame({"day": [30, 160, 300], "east": 5.0, "north": 2.5})
    expected = fit.predict(new, re_form="NA", interval="confidence")
    print(expected.round(2), "\n")
    assert expected["estimate"].iloc[1] > 1.5 * expected["estimate"].iloc[0]

    # Is there a season? By its test, and by the likelihood without it.
    season = fit.smooths().set_index("smooth").loc[SEASON]
    print(f"the season has {season['edf']:.1f} degrees of freedom, p = {season['p_value']:.1e}")
    print(fit.anova(fit.update(f"~ . - {SEASON}")))

    # In a notebook, fit.plot.smooth() draws the season with its intervals, and the surface.


if __name__ == "__main__":
    main()
