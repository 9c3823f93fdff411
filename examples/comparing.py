"""Comparing: likelihood-ratio tests, tests of single terms, a bootstrap, cross-validation, and what is refused.

python examples/comparing.py
"""

import numpy as np

import lmeformula as lf
from lmeformula.errors import ModelError


def main() -> None:
    """Ask whether slopes vary, whether they are correlated with intercepts, and whether days matter."""
    data = lf.datasets.load("sleepstudy")
    models = [
        lf.fit(f"Reaction ~ Days + {term}", data)
        for term in ("(1 | Subject)", "(Days || Subject)", "(Days | Subject)")
    ]
    print(lf.anova(*models), "\n")
    print(
        lf.compare(*models, by="BIC")[["formula", "BIC", "delta", "weight"]].round(3).to_string(),
        "\n",
    )

    largest = models[-1]
    print("Leaving out each fixed term:")
    print(largest.drop1().round(3).to_string(), "\n")

    print(
        "A likelihood-ratio test of the slopes by simulation, as their variance is at a boundary:"
    )
    small, large = models[:2]
    observed = 2.0 * (large.loglik.value - small.loglik.value)
    drawn = small.simulate(200, seed=3)
    ratios = [
        2.0 * (large.refit(drawn[name]).loglik.value - small.refit(drawn[name]).loglik.value)
        for name in drawn
    ]
    print(f"{observed:.1f}, of 200 simulated ones the largest is {np.max(ratios):.1f}\n")

    print("Which predicts subjects better that it has not seen?")
    unseen = largest.cross_validate(by="Subject")
    print(unseen.compare(small.cross_validate(unseen.folds)).round(2).to_string(), "\n")

    try:
        lf.anova(
            lf.fit("Reaction ~ Days + (1 | Subject)", data, reml=True),
            lf.fit("Reaction ~ 1 + (1 | Subject)", data, reml=True),
        )
    except ModelError as error:
        print("Refused, and why:", error, sep="\n")


if __name__ == "__main__":
    main()
