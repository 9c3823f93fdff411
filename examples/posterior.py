"""A posterior distribution from the line that maximum likelihood takes.

python examples/posterior.py
"""

import os

import lmeformula as lf

LINE = "Reaction ~ Days + (Days | Subject)"


def main() -> None:
    """Fit reaction times by maximum likelihood, then draw from the posterior distribution."""
    data = lf.datasets.load("sleepstudy")
    print(lf.fit(LINE, data).summary(), "\n")

    few = {"num_draws": 250, "num_warmup": 200} if os.environ.get("LMEFORMULA_QUICK") else {}
    fit = lf.fit(LINE, data, method="nuts", priors={"cor(Subject)": "lkj(2)"}, seed=1, **few)
    print(fit.summary(), "\n")
    print("The tenth day of subject 308, and of someone new:")
    new = {"Days": [9.0, 9.0], "Subject": ["308", "someone"]}
    print(fit.predict(new, interval="prediction", new_levels="sample").round(1))


if __name__ == "__main__":
    main()
