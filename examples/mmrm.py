"""Repeated measures (MMRM): responses of a subject with a covariance of their own, and visits that are missed.

python examples/mmrm.py
"""

import lmeformula as lf


def main() -> None:
    """Fit growth curves with several covariances, compare them, and read means by visit."""
    data = lf.datasets.load("Orthodont")
    data["visit"] = data["age"].map("{:02.0f}".format)
    # Every seventh visit was missed.
    data = data[[number % 7 != 3 for number in range(len(data))]]

    def fit(covariance: str, **options: bool) -> lf.Fit:
        mean = f"distance ~ visit * Sex + {covariance}(0 + visit | Subject)"
        return lf.fit({"mu": mean, "sigma": "~ 0"}, data, **options)

    fits = {kind: fit(kind) for kind in ("us", "toep", "homcs", "ar1")}
    for kind, found in fits.items():
        print(f"{kind:6} {found.loglik.df:3} parameters, AIC {found.aic:.1f}")

    chosen = fit("us", reml=True)
    print(chosen.varcorr, "\n")
    print(chosen.joint_tests(ddf="kenward-roger"), "\n")
    print(chosen.emmeans("Sex", by="visit", ddf="kenward-roger"), "\n")

    # What a visit that was missed would have shown, from the subject's other visits.
    missed = {"Subject": ["M01"], "Sex": ["Male"], "visit": ["14"]}
    print(chosen.predict(missed, interval="prediction"))


if __name__ == "__main__":
    main()
