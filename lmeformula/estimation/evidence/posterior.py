"""What draws from a posterior distribution say of themselves: R-hat, effective draws, divergences, energies."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import scipy.stats

from lmeformula.arrays import Floats
from lmeformula.certificate import Certificate, Claim
from lmeformula.drawn import Draws, Effort, Mixing
from lmeformula.em.outcome import Outcome
from lmeformula.errors import MissingLibraryError

# Vehtari et al. (2021): R-hat below 1.01, and 100 effective draws for each chain.
MOST_RHAT, LEAST_ESS = 1.01, 100.0
# Betancourt (2016), arXiv:1604.00695; Stan warns below this.
LEAST_BFMI = 0.3
# Effects that are looked at, evenly spread over all.
MOST_EFFECTS = 200
NAMED = 6


def import_arviz(method: str = "nuts") -> Any:
    """ArviZ, which works out how well chains agree, and what importance ratios are worth.

    Args:
      method: that needs it.
    Raises:
      MissingLibraryError: if it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return importlib.import_module("arviz")
    except ImportError as error:
        raise MissingLibraryError(
            f"method={method!r} needs ArviZ for what draws are worth, which cannot be imported: {error}",
            hint="Install it: pip install lmeformula[arviz].",
        ) from error


def mixing_of(values: Floats) -> Mixing:
    """How well chains agree of numbers (c, m, d); chains of a single draw say nothing."""
    arviz = import_arviz()
    data = arviz.convert_to_dataset({"x": values})
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (
            arviz.rhat(data, method="rank"),
            arviz.ess(data, method="bulk"),
            arviz.ess(data, method="tail"),
            arviz.mcse(data, method="mean"),
        )
    return Mixing(*(np.asarray(part["x"], float).reshape(-1) for part in found))


def effects_mixing(effects: tuple[Floats, ...]) -> Floats:
    """(2,) largest R-hat, and fewest effective draws, of some of the effects (c, m, l, k) of each term."""
    flat = [each.reshape(*each.shape[:2], -1) for each in effects]
    together = np.concatenate(flat, axis=2) if flat else np.zeros((1, 1, 0))
    places = np.linspace(0, together.shape[2] - 1, min(MOST_EFFECTS, together.shape[2]))
    if not places.size:
        return np.array([np.nan, np.nan])
    found = mixing_of(together[:, :, np.unique(places.round().astype(int))])
    return np.array([found.rhat.max(), np.minimum(found.ess_bulk, found.ess_tail).min()])


def bfmi_of(energy: Floats) -> Floats:
    """(c,) E-BFMI of the energies (c, m) of transitions."""
    return np.atleast_1d(np.asarray(import_arviz().bfmi(energy), float))


def certify_draws(draws: Draws, names: tuple[str, ...]) -> Certificate:
    """What is claimed of draws.

    Args:
      draws: the draws.
      names: (d,) of the parameters.
    """
    mixing, effort = draws.mixing, draws.effort
    looked_at = min(MOST_EFFECTS, sum(each[0, 0].size for each in draws.effects))
    return Certificate(
        (
            _agreement(
                mixing,
                draws.effects_mixing,
                names,
                largest_by_chance(draws.effects_mixing[1], draws.num_chains, looked_at),
            ),
            _effective(mixing, draws.effects_mixing, names, draws.num_chains),
            _divergences(draws),
            _energies(draws.bfmi),
            _depth(draws, effort),
        )
    )


def outcome_of(certificate: Certificate, *, was_interrupted: bool) -> Outcome:
    """How drawing ended, by what is claimed."""
    if was_interrupted:
        return Outcome.INTERRUPTED
    failing = {claim.name for claim in certificate.failing}
    for name, outcome in (
        ("agreement of chains", Outcome.NOT_MIXED),
        ("divergences", Outcome.DIVERGENT),
        ("energies", Outcome.NOT_MIXED),
        ("effective draws", Outcome.FEW_DRAWS),
    ):
        if name in failing:
            return outcome
    return Outcome.SAMPLED


def largest_by_chance(effective: float, num_chains: int, count: int) -> float:
    """What the largest R-hat of many numbers is exceeded by in one of a hundred runs of chains that do agree.

    Halves of chains of n effective draws differ by an F-distributed ratio, about one, whose excess over it
    counts one in n.

    Example:
      >>> round(largest_by_chance(400.0, 4, 1), 3), round(largest_by_chance(400.0, 4, 200), 3)
      (1.016, 1.034)
    """
    free = 2 * num_chains - 1
    ratio = float(scipy.stats.chi2.isf(0.01 / max(count, 1), free)) / free
    return float(np.sqrt(1.0 + max(ratio - 1.0, 0.0) / max(effective / (2 * num_chains), 1.0)))


def _agreement(mixing: Mixing, effects: Floats, names: tuple[str, ...], by_chance: float) -> Claim:
    both = np.append(mixing.rhat, effects[0])
    worst = float(np.nanmax(both)) if np.isfinite(both).any() else np.nan
    bad = tuple(np.array(names, object)[~(mixing.rhat < MOST_RHAT)])
    if effects[0] >= max(MOST_RHAT, by_chance):
        bad += ("effects",)
    if len(mixing.rhat) and np.isnan(mixing.rhat).all():
        words = "too few draws to tell whether the chains agree"
        return Claim("agreement of chains", False, worst, MOST_RHAT, bad, words)
    words = f"rank-normalised R-hat is up to {worst:.3f}"
    if bad:
        words += f": {_listed(bad)}"
    return Claim("agreement of chains", not bad, worst, MOST_RHAT, bad, words)


def _effective(mixing: Mixing, effects: Floats, names: tuple[str, ...], num_chains: int) -> Claim:
    least = LEAST_ESS * num_chains
    each = np.minimum(mixing.ess_bulk, mixing.ess_tail)
    bad = tuple(np.array(names, object)[~(each >= least)])
    if effects[1] < least:
        bad += ("effects",)
    both = np.append(each, effects[1])
    fewest = float(np.nanmin(both)) if np.isfinite(both).any() else np.nan
    words = f"{fewest:,.0f} effective draws at least, in the bulk and in the tails"
    if bad:
        words += f", where {least:,.0f} are wanted: {_listed(bad)}"
    return Claim("effective draws", not bad, fewest, least, bad, words)


def _divergences(draws: Draws) -> Claim:
    count = draws.divergences
    total = draws.num_chains * draws.num_draws
    words = f"{count:,} of {total:,} transitions diverged" if count else "no transition diverged"
    return Claim("divergences", count == 0, float(count), 0.0, (), words)


def _energies(bfmi: Floats) -> Claim:
    least = float(bfmi.min())
    if np.isnan(least):
        return Claim("energies", None, least, LEAST_BFMI, (), "too few draws to tell of energies")
    words = f"E-BFMI is {least:.2f} at least"
    return Claim("energies", least >= LEAST_BFMI, least, LEAST_BFMI, (), words)


def _depth(draws: Draws, effort: Effort) -> Claim:
    count = int(draws.stats.reached_max_treedepth.sum())
    most = effort.max_tree_depth
    words = f"no trajectory was cut off at {2**most:,} steps"
    if count:
        words = (
            f"{count:,} trajectories were cut off at {2**most:,} steps: draws are slow, not wrong"
        )
    return Claim("tree depth", True if not count else None, float(count), 0.0, (), words)


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f", ... {more} more" if more > 0 else "")
