"""Doubting: counts of ticks fitted as Poisson, what is wrong with that, and what is better.

python examples/doubting.py
"""

from matplotlib.figure import Figure

import lmeformula as lf


def main() -> None:
    """Check the Poisson fit, follow the advice, and check again."""
    data = lf.datasets.load("grouseticks")
    formula = "TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD)"
    poisson = lf.fit(formula, data, "poisson", method="laplace")
    print(poisson.check(), "\n")

    wider = lf.fit(formula, data, "nbinom2", method="laplace")
    print(wider.check(), "\n")
    print(f"AIC {poisson.aic:.0f} and {wider.aic:.0f}")
    for name, fit in {"poisson": poisson, "nbinom2": wider}.items():
        residuals = fit.residuals("quantile", seed=1)
        print(f"{name}: quantile residuals have an sd of {residuals.std():.2f}")
    print(wider.diagnostics)

    figure = Figure(figsize=(16, 7), layout="constrained")
    axes = figure.subplots(2, 3)
    for row, fit in zip(axes, (poisson, wider), strict=True):
        fit.plot.qq(ax=row[0])
        fit.plot.ppc(ax=row[1])
        fit.plot.calibration(ax=row[2])
    figure.savefig("doubting.png")


if __name__ == "__main__":
    main()
