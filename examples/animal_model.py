"""An animal model: breeding values of a pedigree, and of animals without a record of their own.

python examples/animal_model.py
"""

import numpy as np
import pandas as pd

import lmeformula as lf


def bred(random: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Six generations of sheep, with few rams, and their breeding values."""
    rows: list[tuple[str, str | None, str | None]] = [(f"f{i}", None, None) for i in range(40)]
    values = list(random.normal(size=40))
    places = {name: place for place, (name, _, _) in enumerate(rows)}
    before = [name for name, _, _ in rows]
    for generation in range(5):
        born = []
        for number in range(80):
            ram, ewe = random.choice(before[:5]), random.choice(before[5:])
            name = f"g{generation}n{number}"
            mean = 0.5 * (values[places[ram]] + values[places[ewe]])
            values.append(mean + np.sqrt(0.5) * random.normal())
            places[name] = len(rows)
            rows.append((name, str(ram), str(ewe)))
            born.append(name)
        before = born
    return pd.DataFrame(rows, columns=["id", "sire", "dam"]), np.array(values)


def main() -> None:
    """Fit the model by REML, and read variances, heritability and breeding values."""
    random = np.random.default_rng(1)
    sheep, values = bred(random)
    pedigree = lf.pedigree(sheep)
    print(pedigree, f"inbreeding up to {pedigree.inbreeding.max():.2f}")

    # Records of two thirds of the animals, in flocks.
    recorded = np.flatnonzero(random.random(len(sheep)) < 0.67)
    flock = random.integers(0, 8, len(recorded))
    data = pd.DataFrame(
        {
            "animal": sheep["id"].to_numpy()[recorded],
            "flock": flock,
            "weight": 40.0
            + 3.0 * values[recorded]
            + random.normal(size=8)[flock]
            + 4.0 * random.normal(size=len(recorded)),
        }
    )
    fit = lf.fit(
        "weight ~ 1 + (1 | gr(animal, cov = A)) + (1 | flock)",
        data,
        reml=True,
        covariances={"A": pedigree},
    )
    print(fit.varcorr, "\n")
    additive, of_flocks = (float(covariance[0, 0]) for covariance in fit.params.covariances)
    print(f"heritability {additive / (additive + of_flocks + fit.sigma**2):.2f}\n")

    effects = fit.ranef()
    effects = effects[effects["group"] == "animal"].set_index("level")
    known = set(data["animal"])
    found = effects.reindex(sheep["id"])["value"].to_numpy()
    for what, chosen in (("with", True), ("without", False)):
        some = np.array([(name in known) == chosen for name in sheep["id"]])
        accuracy = np.corrcoef(found[some], values[some])[0, 1]
        print(f"accuracy of animals {what} a record {accuracy:.2f}")
    print(effects.sort_values("value").tail(3))


if __name__ == "__main__":
    main()
