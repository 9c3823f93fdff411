"""Simulation-based calibration: whether draws from a model's posterior are those of its posterior."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.checking.sbc_record import Calibration
from lmeformula.checkpoint.journal import piece
from lmeformula.design.checks import check_response
from lmeformula.design.design import Design
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.estimation.asked import EFFORT, options_of
from lmeformula.estimation.check_numbers import check_response_size
from lmeformula.estimation.continued import continued_of_model
from lmeformula.estimation.dispatch import DRAWING, estimate
from lmeformula.estimation.refused_draws import refuse
from lmeformula.fit import FittedModel
from lmeformula.model.compile import Model
from lmeformula.prediction.row_densities import row_densities
from lmeformula.prediction.simulate import with_drawn_response
from lmeformula.watch import shown, watched

MOST_SIMS, MOST_RANKS = 1_000_000, 100_000
# Draws by default: of each chain, and before them; and responses that are tried for one simulation.
NUM_DRAWS, NUM_WARMUP, MOST_TRIES = 250, 250, 100
# What the last quantity is called; it hangs on the data, and finds posteriors that are the prior.
LOG_LIKELIHOOD = "log-likelihood"


class Simulated(NamedTuple):
    """Parameters and effects from the priors, and a response of theirs.

    Attributes:
      design: with the response.
      psi: (d,) unconstrained parameters, as the model's space has them.
      effects: (l, k) of each term.
      num_redrawn: responses before it that no model would be fitted to.
    """

    design: Design
    psi: Floats
    effects: tuple[Floats, ...]
    num_redrawn: int


@kinds.takes(
    model=kinds.instance(Model, "Give what lf.compile returns, with priors."),
    n=kinds.whole(1, MOST_SIMS),
    method=kinds.one_of(*DRAWING),
    num_ranks=kinds.whole(1, MOST_RANKS),
    **{
        name: EFFORT[name]
        for name in ("seed", "num_draws", "num_chains", "num_warmup", "target_acceptance")
    },
    progress=kinds.flag,
    checkpoint=EFFORT["checkpoint"],
)
def sbc(
    model: Model,
    n: int = 100,
    *,
    method: str = "nuts",
    seed: int = 0,
    num_ranks: int = 99,
    num_draws: int | None = None,
    num_chains: int | None = None,
    num_warmup: int | None = None,
    target_acceptance: float | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Calibration:
    """Check a model's posterior by simulation: parameters from the priors, data from them, a fit to each.

    What was simulated ranks among the draws of its own posterior as any of them does: evenly. Ranks that do not
    say that priors, model and sampler are not those of one joint distribution, or that the sampler is off. The
    program that draws is compiled once.

    Args:
      model: with a proper prior of every parameter; standard deviations and own parameters of the family that
        have none have the default ones, as in a fit.
      n: how many simulations, each with a fit. What is wrong by much shows in 20; see `Calibration.band`.
      method: "nuts", or "vi", whose ranks say how far its approximation is off.
      seed: of all random numbers. The first simulations with a seed are the same whatever n is.
      num_ranks: draws, evenly spread over all, among which ranks are taken: 99 make ranks of 0 to 99. Draws
        next to one another are alike, and would rank alike: take fewer than are effective.
      num_draws: draws of each chain of a fit, 250 by default.
      num_chains: chains of a fit, 4 by default.
      num_warmup: draws before those that are kept, 250 by default.
      target_acceptance: what the steps of nuts are tuned for.
      progress: show how far it is, where somebody looks.
      checkpoint: a folder, which is made, for the fits that are done: killed at any moment, the call goes on
        after them when it is made again, and ends at the same ranks.
    Returns:
      The ranks of all parameters, of an effect of each term and of the log-likelihood; `to_frame()` has tests,
      `plot()` the picture. Ctrl-C gives those that there are.
    Raises:
      ModelError: if a parameter has no proper prior, or the model is none that is drawn from its priors or its
        posterior.
    References:
      Talts, Betancourt, Simpson, Vehtari, Gelman (2018), arXiv:1804.06788. Modrak, Moon, Kim, Buerkner, Huurre,
      Faltejskova, Gelman, Vehtari (2023), Bayesian Analysis, for the log-likelihood as a quantity.
    Example:
      >>> import lmeformula as lf
      >>> design = lf.design("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> model = lf.compile(design, priors={"sd": "half_normal(50)", "sigma": "half_normal(50)"})
      >>> try:
      ...     sbc(model, 100)
      ... except lf.ModelError as error:
      ...     print(error.problem)
      there is no prior of Intercept, and a flat density cannot be drawn from
    """
    from lmeformula.model.default_priors import with_defaults

    refuse(model, reml=False, solver="auto", method=method)
    _check(model.design, model)
    model = with_defaults(model)
    effort = {
        "num_draws": NUM_DRAWS if num_draws is None else num_draws,
        "num_warmup": NUM_WARMUP if num_warmup is None and method == "nuts" else num_warmup,
        "num_chains": num_chains,
        "target_acceptance": target_acceptance,
    }
    simulate = _simulator(model)
    ranks: list[Ints] = []
    values: list[Floats] = []
    outcomes: list[str] = []
    redrawn = 0
    try:
        with (
            shown(progress),
            continued_of_model(
                checkpoint, "sbc", model, asked=(method, seed, num_ranks, tuple(effort.values()))
            ),
            watched("calibration", n, "simulations") as watch,
            one_blas_thread(),
        ):
            for number in range(n):
                one = simulate(seed, number)
                work = partial(_ranked, model, one, method, effort, [seed, number], num_ranks)
                rank, value, outcome = piece("sbc", number, work)
                ranks.append(rank)
                values.append(value)
                outcomes.append(outcome)
                redrawn += one.num_redrawn
                watch.step()
    except KeyboardInterrupt:
        if not ranks:
            raise
    return Calibration(
        names=_names(model),
        ranks=np.array(ranks),
        num_draws=num_ranks,
        simulated=np.array(values),
        outcomes=tuple(outcomes),
        num_redrawn=redrawn,
        asked=n,
    )


def _check(design: Design, model: Model) -> None:
    """Refuse rows that are not one observation each: what is drawn of them has another density."""
    what = ""
    if design.frequency is not None:
        what = "rows that stand for several by their frequency"
    elif model.family.has_weights and design.weights is not None:
        what = f"prior weights of a {model.family.name} model"
    if what:
        raise ModelError(
            f"calibration is by responses that are drawn, and {what} have none",
            hint="Give each observation a row of its own, without weights.",
        )


def _simulator(model: Model) -> Any:
    """What draws parameters, effects and a response, by a seed and a number.

    Raises:
      ModelError: where a parameter has no proper prior, or the model no joint distribution with it.
    """
    from lmeformula.sampling.nuts.coordinates import Coordinates

    joint = model.prior_joint
    coordinates = Coordinates(model, model.start)
    parts, response = list(coordinates.joint.names.values()), coordinates.joint.response

    def simulate(seed: int, number: int) -> Simulated:
        for tries in range(MOST_TRIES):
            sequence = np.random.SeedSequence(seed, spawn_key=(number, tries))
            key = sequence.generate_state(2).astype(np.int32)
            drawn = {name: np.asarray(each) for name, each in joint.sample(seed=key).items()}
            design = _taken(model, drawn[response])
            natural = {block.name: drawn[block.name][None] for block in coordinates.blocks}
            psi = coordinates.to_psi(coordinates.from_natural(natural))[0]
            if design is not None and np.isfinite(psi).all():
                effects = tuple(drawn[part].reshape(len(drawn[part]), -1) for part in parts)
                return Simulated(design, psi, effects, tries)
        raise ModelError(
            f"of {MOST_TRIES} responses that were drawn none can be fitted: they are constant, or beyond "
            "numbers",
            hint="Look at model.prior_joint.sample(100), and give narrower priors.",
        )

    return simulate


def _taken(model: Model, drawn: Floats) -> Design | None:
    """The design with a response that was drawn; None for one that no model is fitted to.

    Leaving out responses for what they are themselves leaves the posterior given any other as it is.
    """
    if not np.isfinite(drawn).all():
        return None
    design = with_drawn_response(model, drawn)
    try:
        check_response(design)
        if model.family.is_normal:
            check_response_size(design)
        model.family.response(design)
    except (FormulaDataError, ModelError):
        return None
    return design


def _ranked(
    model: Model,
    one: Simulated,
    method: str,
    effort: dict[str, Any],
    seed: list[int],
    num_ranks: int,
) -> tuple[Ints, Floats, str]:
    """Ranks (k) of what was simulated, its values (k), and how the fit to it ended."""
    fit = _fitted(replace(model, design=one.design), method, effort, seed)
    if fit.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    draws = fit.draws
    assert draws is not None
    chosen = list(draws.chosen(num_ranks))
    if len(chosen) < num_ranks:
        raise ModelError(
            f"{num_ranks:,} draws are to be ranked among, and a fit has {len(chosen):,}",
            hint=f"Take num_ranks={len(chosen)} or fewer, or raise num_draws.",
        )
    chains, numbers = np.array(chosen).T
    psi = np.concatenate([one.psi[None], draws.psi[chains, numbers]])
    effects = [
        np.concatenate([true[None], each[chains, numbers]])
        for true, each in zip(one.effects, draws.effects, strict=True)
    ]
    values = np.column_stack(
        [
            np.array([model.space.to_report(each) for each in psi]),
            *(each[:, 0] for each in effects),
            row_densities(fit, psi, effects).sum(axis=1),
        ]
    )
    return (values[1:] < values[0]).sum(axis=0), values[0], fit.outcome.name


def _fitted(model: Model, method: str, effort: dict[str, Any], seed: list[int]) -> FittedModel:
    from lmeformula.estimation.by_nuts import estimate_nuts
    from lmeformula.estimation.by_vi import estimate_vi

    both = {name: effort[name] for name in ("num_draws", "num_chains")}
    of_nuts = {name: effort[name] for name in ("num_warmup", "target_acceptance")}
    _, settings = options_of(method, both, {}, of_nuts)
    own = int(np.random.SeedSequence(seed[0], spawn_key=(seed[1], 2**20)).generate_state(1)[0] >> 1)
    by = {"nuts": estimate_nuts, "vi": estimate_vi}[method]
    return by(model, own, Options(), settings, estimate)


def _names(model: Model) -> tuple[str, ...]:
    """Of the quantities: parameters, the effects of each term's first level, the log-likelihood."""

    def of_terms() -> Iterator[str]:
        for term in model.design.terms:
            for column in term.columns:
                yield f"{column}|{term.name} {term.levels[0]}"

    return (*model.space.names, *of_terms(), LOG_LIKELIHOOD)
