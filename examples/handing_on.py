"""Handing on: a fit saved without its data, predictions elsewhere, scikit-learn, ArviZ, and the papers.

python examples/handing_on.py
"""

import importlib.util
import tempfile

import pandas as pd

import lmeformula as lf

FORMULA = "Reaction ~ Days + (Days | Subject)"


def main() -> None:
    """Fit once, and use it everywhere."""
    data = lf.datasets.load("sleepstudy")
    fit = lf.fit(FORMULA, data)
    path = fit.save("sleepstudy.fit")
    print(f"{path.name}: {path.stat().st_size:,} bytes, without the rows")

    again = lf.load(path)
    new = pd.DataFrame({"Days": [3, 12], "Subject": ["308", "308"]})
    print("predicted", again.predict(new).round(1).tolist())
    print("simulated", again.simulate(newdata=new, re_form=None, seed=2)["sim_1"].round(1).tolist())

    # A program with TensorFlow and without this package predicts from raw columns.
    with tempfile.TemporaryDirectory() as folder:
        print(fit.export(f"{folder}/sleepstudy"))

    if importlib.util.find_spec("sklearn"):
        from sklearn.model_selection import GroupKFold, cross_val_score

        model = lf.sklearn.MixedModelRegressor(FORMULA, new_levels="population")
        rows = data[["Days", "Subject"]]
        scores = cross_val_score(
            model, rows, data["Reaction"], groups=data["Subject"], cv=GroupKFold(6)
        )
        print("R2 for subjects never seen", scores.round(2).tolist())
    if importlib.util.find_spec("arviz"):
        print(fit.to_arviz(num_draws=100, rows=False))
    print(fit.references())


if __name__ == "__main__":
    main()
