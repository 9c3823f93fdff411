"""A split-plot experiment read to the end: tests of its terms, marginal means, contrasts, predictions.

    python examples/marginal_means.py

Oats of three varieties with four doses of nitrogen (Yates 1935), nine of 72 plots lost, as in the vignettes of
R's emmeans, whose numbers these are.
"""

import lmeformula as lf

LOST = [0, 1, 2, 4, 7, 12, 20, 33, 54]


def main() -> None:
    """Fit by REML, and ask the questions in turn."""
    oats = lf.datasets.load("Oats").drop(index=LOST)
    fit = lf.fit("yield ~ Variety + factor(nitro) + (1 | Block/Variety)", oats, reml=True)
    print(fit.summary(ddf="kenward-roger"), "\n")

    print("Does a term matter? F tests, with Satterthwaite's degrees of freedom:")
    print(fit.joint_tests().round(4).to_string(index=False), "\n")

    means = fit.emmeans("nitro", ddf="kenward-roger")
    print("Yield by dose, averaged over varieties, and each dose against none:")
    print(means)
    print(means.contrasts("trt.vs.ctrl"), "\n")

    share = fit.icc().set_index("group")["adjusted"]
    print(f"Of what the treatments leave, {share['all']:.0%} is between blocks and main plots;")
    print(f"all in all the model explains {fit.r2().conditional:.0%} of the variance.\n")

    print("A plot of a block of this experiment, and one of a block to come:")
    plots = {"Variety": ["Victory"] * 2, "nitro": [0.4] * 2, "Block": ["I", "VII"]}
    ahead = fit.predict(plots, interval="prediction", new_levels="sample")
    print(ahead.round(1).assign(block=plots["Block"]).to_string(index=False))


if __name__ == "__main__":
    main()
