"""Predicting: subjects that are known and new ones, with every source of uncertainty, and simulation.

python examples/predicting.py
"""

import pandas as pd

import lmeformula as lf


def main() -> None:
    """Predict reaction times after twelve days, and ratings by category."""
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"), reml=True)
    new = pd.DataFrame({"Days": [0, 12, 12], "Subject": ["308", "308", "somebody"]})

    print("With what is known of each subject, and for the population:")
    print(fit.predict(new, new_levels="population").round(1).tolist())
    print(fit.predict(new, re_form="NA").round(1).tolist(), "\n")

    print("Where the next measurement will lie; an unknown subject is drawn from all:")
    print(fit.predict(new, interval="prediction", new_levels="sample").round(1), "\n")
    print("The same without the residual, and without the uncertainty of the parameters:")
    print(
        fit.predict(new, interval="prediction", new_levels="sample", include=("effects",)).round(1),
        "\n",
    )

    print("Five whole data sets that the model could have given, for these rows:")
    print(fit.simulate(5, newdata=new, seed=1).round(0), "\n")

    wine = lf.datasets.load("wine")
    ordinal = lf.fit("rating ~ temp + contact + (1 | judge)", wine, "cumulative", method="laplace")
    warm = pd.DataFrame({"temp": ["warm"], "contact": ["yes"], "judge": ["1"]})
    print("Chances of each rating, without the judges' effects and for judge 1:")
    print(ordinal.predict(warm, kind="prob", re_form="NA").round(2).to_string(index=False))
    print(ordinal.predict(warm, kind="prob").round(2).to_string(index=False))


if __name__ == "__main__":
    main()
