"""Species that are related as a tree says: one effect of each, and one in each habitat.

python examples/phylogeny.py
"""

import numpy as np
import pandas as pd

import lmeformula as lf


def shared_paths(random: np.random.Generator, count: int) -> pd.DataFrame:
    """A tree that splits at random: how far from its root two species went together; one all the way."""
    shared, species = np.zeros((1, 1)), [0]
    for _ in range(count - 1):
        # One that is there splits in two; all go on for the same time.
        parent = int(random.integers(len(species)))
        shared = np.pad(shared, ((0, 1), (0, 1)))
        shared[-1, :-1] = shared[:-1, -1] = shared[parent, :-1]
        shared[-1, -1] = shared[parent, parent]
        species.append(len(species))
        shared[np.diag_indices(len(shared))] += random.exponential(1.0 / len(shared))
    names = [f"species {number}" for number in species]
    return pd.DataFrame(shared / shared.diagonal().max(), index=names, columns=names)


def main() -> None:
    """Fit a phylogenetic mixed model, and effects of habitats that a tree relates."""
    random = np.random.default_rng(4)
    tree = shared_paths(random, 40)
    root = np.linalg.cholesky(tree.to_numpy())
    places = np.tile(np.arange(40), 6)
    habitat = np.repeat([f"habitat {number}" for number in range(6)], 40)
    size = random.normal(size=len(places))
    own = root @ random.normal(size=(40, 6))
    data = pd.DataFrame(
        {
            "species": tree.index.to_numpy()[places],
            "habitat": habitat,
            "size": size,
            "song": 2.0
            + 0.5 * size
            + (1.2 * root @ random.normal(size=40))[places]
            + 0.6 * own[places, np.repeat(np.arange(6), 40)]
            + 0.5 * random.normal(size=len(places)),
        }
    )

    # One effect of each species, related as the tree says.
    fit = lf.fit(
        "song ~ size + (1 | gr(species, cov = A))", data, reml=True, covariances={"A": tree}
    )
    print(fit.varcorr, "\n")
    variance = float(fit.params.covariances[0][0, 0])
    print(f"phylogenetic signal {variance / (variance + fit.sigma**2):.2f}\n")

    # And effects of the species in each habitat, again with the tree's covariance times a variance.
    both = lf.fit(
        "song ~ size + (1 | gr(species, cov = A)) + propto(0 + species | habitat, A)",
        data,
        reml=True,
        covariances={"A": tree},
    )
    print(both)
    print(lf.anova(fit, both))


if __name__ == "__main__":
    main()
