"""Separated responses: a logistic model whose likelihood has no maximum, and priors that give it a mode.

python examples/priors.py
"""

import pandas as pd

import lmeformula as lf

# Of five trials of a subject the last three are with a cue, and with a cue nobody fails.
PASSED = (
    "01111 00111 10111 00111 00111 11111 00111 01111 00111 00111 10111 00111 "
    "01111 00111 00111 11111"
)


def main() -> None:
    """Fit by maximum likelihood, which fails in words, and with weakly informative priors."""
    passed = [int(one) for one in PASSED if one != " "]
    subjects = [f"s{number // 5:02d}" for number in range(len(passed))]
    data = pd.DataFrame({"passed": passed, "subject": subjects})
    data["cue"] = [0, 0, 1, 1, 1] * (len(passed) // 5)

    formula = "passed ~ cue + (1 | subject)"
    print(lf.fit(formula, data, "bernoulli"), "\n")

    priors = {
        "Intercept": "student(3, 0, 2.5)",
        "cue": "normal(0, 2.5)",
        "sd(subject)": "half_student(3, 0, 2.5)",
    }
    fit = lf.fit(formula, data, "bernoulli", priors=priors)
    print(fit.summary(), "\n")
    print(fit.priors, "\n")
    odds = fit.tidy(exponentiate=True).query("effect == 'fixed'")
    print(odds[["term", "estimate", "conf_low", "conf_high"]].round(2), "\n")
    print(fit.emmeans("cue", at={"cue": [0, 1]}))

    # How much hangs on the prior.
    for sd in (1.0, 2.5, 10.0):
        found = fit.update("~ .", priors={**priors, "cue": f"normal(0, {sd})"})
        print(f"sd {sd:4}: cue {found.fixef['cue']:.2f}, logLik {found.loglik.value:.2f}")


if __name__ == "__main__":
    main()
