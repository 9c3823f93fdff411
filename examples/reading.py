"""Reading a fit: on one screen, as tables, term by term, and with every kind of interval.

python examples/reading.py
"""

import lmeformula as lf


def main() -> None:
    """Fit sleepstudy, and read what came of it."""
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"), reml=True)
    print(fit, "\n")
    print(fit.summary(ddf="satterthwaite"), "\n")

    print("Tables, as broom.mixed has them:")
    print(fit.tidy().round(3).to_string(index=False), "\n")
    print(fit.glance().round(2).to_string(index=False), "\n")

    print("Random effects, and the coefficients of each subject:")
    print(fit.varcorr)
    print(fit.ranef().head(4).round(2).to_string(index=False))
    print(fit.coef()["Subject"].head(3).round(2), "\n")

    print("How much is explained, and how sure is it?")
    print(fit.r2(), fit.icc().round(3).to_string(index=False), sep="\n")
    for method, options in {"wald": {}, "profile": {}, "boot": {"num_refits": 200}}.items():
        days = fit.confint(method, parm="Days", **options).iloc[0]
        print(f"{method:8} {days['lower']:6.2f} to {days['upper']:6.2f} ms a day")


if __name__ == "__main__":
    main()
