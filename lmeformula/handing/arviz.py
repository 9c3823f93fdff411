"""A fit for ArviZ - draws of the random effects, log-likelihoods, observed and predicted rows."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.absent import has_rows
from lmeformula.errors import MissingLibraryError, ModelError
from lmeformula.family import log_density
from lmeformula.fit import FittedModel, of_observations
from lmeformula.handing.posterior_groups import posterior_groups
from lmeformula.prediction.distribution import draw_rows
from lmeformula.prediction.loadings import loadings
from lmeformula.prediction.posterior import normal_posterior_of, posterior_draws
from lmeformula.prediction.posterior_draws import PosteriorDraws
from lmeformula.prediction.predictor import linear_predictor, mean_response

LAST_ESTEP = "last E-step of Monte Carlo EM"
# More numbers than this for each row and draw are asked for by mistake more often than not.
MOST_NUMBERS = 2**27
CHUNK = 2**21
# What the groups of rows say of their parameters.
PARAMETERS = {
    "estimates": "held at their estimates: arviz.loo and arviz.compare take no account of estimating them, and "
    'prefer columns of noise; use to_arviz(parameters="drawn")',
    "drawn": "fixed effects and own parameters drawn from their normal approximation; sigma of normal rows and "
    "covariances of effects held at their estimates",
}


@kinds.takes(
    num_draws=kinds.whole(2, MOST_NUMBERS),
    seed=kinds.seed,
    rows=kinds.flag,
    watched=kinds.flag,
    parameters=kinds.one_of(*PARAMETERS),
)
@of_observations
def to_arviz(
    fit: FittedModel,
    *,
    num_draws: int = 500,
    seed: int = 0,
    rows: bool = True,
    watched: bool = True,
    parameters: str = "estimates",
) -> Any:
    """Hand a fit to ArviZ.

    The parameters are maximum-likelihood estimates and stand in `constant_data`; what has a distribution is the
    random effects given the data and the estimates. Draws of a Monte Carlo fit are those that it kept in its
    last E-step, of the first levels of each factor; for other fits, and for the groups that need all
    effects, they are drawn from the normal approximation around the posterior means (for Gaussian fits the
    exact distribution). The attribute `draws` of each group says which.

    Of a fit by method="nuts" the posterior has all parameters too, by their names, and there are sample_stats,
    warmup_posterior and warmup_sample_stats, and log_likelihood unless rows times draws are very many.

    Args:
      fit: a fitted model.
      num_draws: draws from the normal approximation; of a fit by "nuts", which has draws of its own, how many
        responses of each row are drawn.
      seed: of the random numbers.
      rows: whether to have the groups with a number for each row and draw: log_likelihood and
        posterior_predictive. A fit that was loaded without its rows has none of them.
      watched: False draws all levels from the normal approximation for a Monte Carlo fit too.
      parameters: "estimates" holds the parameters at their estimates in the groups of rows, where `arviz.loo`
        and `arviz.compare` then take no account of what estimating them costs, and prefer columns of noise;
        "drawn" draws fixed effects and the family's own parameters from their normal approximation, and moves
        the effects with them (sigma of normal rows and covariances stay). The attribute `parameters` of these
        groups says which.
    Returns:
      data: ArviZ's InferenceData before its version 1, an xarray DataTree from then on, with the groups
        posterior, log_likelihood, posterior_predictive, observed_data and constant_data. The posterior has a
        variable "column|term" for each coefficient, over the levels of its grouping factor.
    Raises:
      MissingLibraryError: if ArviZ is not installed.
      ModelError: if rows times draws are too many.
    References:
      Kumar, Carroll, Hartikainen, Martin (2019), J. Open Source Softw. 4(33), 1143, for the schema.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1|Batch)", lf.datasets.load("dyestuff"))
      >>> data = fit.to_arviz(num_draws=100, rows=False)
      >>> data["posterior"]["Intercept|Batch"].sizes["Batch_level"]
      6
    """
    try:
        arviz, xarray = importlib.import_module("arviz"), importlib.import_module("xarray")
    except ImportError as error:
        raise MissingLibraryError(
            f"to_arviz() needs ArviZ, which cannot be imported: {error}",
            hint="Install it: pip install lmeformula[arviz].",
        ) from error
    design, name = fit.model.design, fit.model.design.response_name
    is_whole = has_rows(design)
    if fit.draws is not None:
        return _of_draws(arviz, xarray, fit, rows=rows, num_draws=num_draws, seed=seed)
    draws = posterior_draws(fit, num_draws, seed, jointly=None if is_whole else False)
    groups = {"posterior": _posterior(xarray, fit, draws)}
    if fit.watched is not None and watched:
        groups["posterior"] = _kept(xarray, fit)
    if is_whole:
        if rows:
            _check_size(design.n, num_draws)
            moved = _moved_parameters(fit, num_draws, seed) if parameters == "drawn" else None
            likelihood, simulated = _row_groups(fit, draws, seed, moved)
            how = {"draws": draws.how, "parameters": PARAMETERS[parameters]}
            dims = ("chain", "draw", "row")
            groups["log_likelihood"] = _dataset(xarray, fit, {name: (dims, likelihood)}, how)
            groups["posterior_predictive"] = _dataset(xarray, fit, {name: (dims, simulated)}, how)
        observed = np.asarray(fit.model.family.response(design)[0], float)
        groups["observed_data"] = _dataset(xarray, fit, {name: (("row",), observed)}, {})
    groups["constant_data"] = _constants(xarray, fit)
    return _handed(arviz, xarray, groups)


def _of_draws(
    arviz: Any, xarray: Any, fit: FittedModel, *, rows: bool, num_draws: int, seed: int
) -> Any:
    """A fit by the no-U-turn sampler, whose parameters have a distribution too."""
    design = fit.model.design
    levels = {f"{block.group}_level": list(block.levels) for block in design.terms}
    groups = {}
    made = posterior_groups(fit, rows=rows, num_draws=num_draws, seed=seed)
    for group, (variables, attrs) in made.items():
        found = _dataset(xarray, fit, variables, attrs)
        groups[group] = found.assign_coords(
            {dim: names for dim, names in levels.items() if dim in found.dims}
        )
    if has_rows(design):
        observed = np.asarray(fit.model.family.response(design)[0], float)
        groups["observed_data"] = _dataset(
            xarray, fit, {design.response_name: (("row",), observed)}, {}
        )
    groups["constant_data"] = _constants(xarray, fit)
    return _handed(arviz, xarray, groups)


def _handed(arviz: Any, xarray: Any, groups: dict[str, Any]) -> Any:
    """The groups as ArviZ's own data, or as a tree."""
    if int(arviz.__version__.split(".")[0]) < 1:
        return arviz.InferenceData(**groups)
    return xarray.DataTree.from_dict(groups)


def _check_size(num_rows: int, num_draws: int) -> None:
    if num_rows * num_draws > MOST_NUMBERS:
        raise ModelError(
            f"{num_rows:,} rows times {num_draws:,} draws are too many numbers",
            hint=f"Take num_draws={MOST_NUMBERS // num_rows} or fewer, or rows=False.",
        )


def _dataset(
    xarray: Any, fit: FittedModel, variables: dict[str, Any], attrs: dict[str, str]
) -> Any:
    design = fit.model.design
    named = {"row": design.rows, "coefficient": design.names, "parameter": fit.param_names}
    coords: dict[str, Any] = {}
    for dims, values in variables.values():
        for dim, size in zip(dims, np.shape(values), strict=True):
            if dim in ("chain", "draw"):
                coords[dim] = np.arange(size)
            elif dim in named:
                coords[dim] = np.asarray(named[dim])
    about = {
        "inference_library": "lmeformula",
        "formula": str(fit.formula),
        "family": f"{fit.model.family.name}({fit.model.family.link})",
        "method": fit.method,
    }
    return xarray.Dataset(variables, coords=coords, attrs={**about, **attrs})


def _posterior(xarray: Any, fit: FittedModel, draws: PosteriorDraws) -> Any:
    blocks = fit.model.design.terms
    values = {
        (block.name, column): effects[:, :, j]
        for block, effects in zip(blocks, draws.effects, strict=True)
        for j, column in enumerate(block.columns)
    }
    levels = {block.group: list(block.levels) for block in blocks}
    return _effects(xarray, fit, values, levels, draws.how)


def _kept(xarray: Any, fit: FittedModel) -> Any:
    """The draws that a Monte Carlo fit kept, of the first levels of each term."""
    assert fit.watched is not None
    place = {name: i for i, name in enumerate(fit.watched.names)}
    blocks = fit.model.design.terms
    # Terms on one grouping factor share a dimension: the levels of which all coefficients were kept.
    levels = {block.group: list(block.levels) for block in blocks}
    for block in blocks:
        levels[block.group] = [
            level
            for level in levels[block.group]
            if all((block.name, level, column) in place for column in block.columns)
        ]
    values = {
        (block.name, column): fit.watched.draws[
            :, [place[block.name, level, column] for level in levels[block.group]]
        ]
        for block in blocks
        for column in block.columns
    }
    return _effects(xarray, fit, values, levels, LAST_ESTEP)


def _effects(
    xarray: Any,
    fit: FittedModel,
    values: dict[tuple[str, str], Floats],
    levels: dict[str, list[str]],
    how: str,
) -> Any:
    """Draws (m, l) of each coefficient of each term, over the levels of its grouping factor."""
    variables = {
        f"{column}|{block.name}": (
            ("chain", "draw", f"{block.group}_level"),
            values[block.name, column][None],
        )
        for block in fit.model.design.terms
        for column in block.columns
    }
    found = _dataset(xarray, fit, variables, {"draws": how})
    return found.assign_coords({f"{group}_level": names for group, names in levels.items()})


def _constants(xarray: Any, fit: FittedModel) -> Any:
    variables: dict[str, Any] = {
        "fixef": (("coefficient",), fit.params.beta),
        "estimate": (("parameter",), fit.param_values),
        "std_error": (("parameter",), fit.param_stderr),
    }
    is_unordered = fit.model.family.categories is not None and not fit.model.family.thresholds
    if has_rows(fit.model.design) and not is_unordered:
        eta = linear_predictor(fit, fit.model.design)
        variables["fitted"] = (("row",), mean_response(fit, eta))
    return _dataset(xarray, fit, variables, {})


class _Moved(NamedTuple):
    """Parameters drawn with their errors.

    Attributes:
      eta: (m, K, n) what their errors add to the predictors, effects moving along.
      own: (m, v) own parameters; None where they are held.
    """

    eta: Floats
    own: Floats | None


def _moved_parameters(fit: FittedModel, num_draws: int, seed: int) -> _Moved:
    design, loads = fit.model.design, loadings(fit, normal_posterior_of(fit))
    noise = np.random.default_rng([seed, 5]).standard_normal((num_draws, len(loads.vcov)))
    moves = noise @ cholesky_semidefinite(loads.vcov).T
    eta = np.stack([moves @ each.T for each in loads.of(design)], axis=1)
    p = loads.num_fixed
    if len(loads.vcov) == p:
        return _Moved(eta, None)
    scale = fit.model.space.own.scale
    free = scale.to_free(fit.params.own)
    return _Moved(eta, np.array([scale.to_natural(free + move) for move in moves[:, p:]]))


def _row_groups(
    fit: FittedModel, draws: PosteriorDraws, seed: int, moved: _Moved | None
) -> tuple[Floats, Floats]:
    """(1, m, n) log densities of the rows, and (1, m, n) simulated responses, at each draw of the effects."""
    import tensorflow as tf

    design, family = fit.model.design, fit.model.family
    num_draws = len(draws.effects[0])
    arrays = family.response(design)
    response = tuple(tf.constant(array, tf.float64) for array in arrays)
    fixed = linear_predictor(fit, design, with_random=False)
    likelihood = np.empty((1, num_draws, design.n))
    simulated = np.empty((1, num_draws, design.n))
    has_own = moved is not None and moved.own is not None
    # Own parameters of their own are a row of numbers for each draw.
    size = 1 if has_own else max(1, CHUNK // design.n)
    for number, start in enumerate(range(0, num_draws, size)):
        part = slice(start, start + size)
        eta = np.repeat(fixed[None], len(range(*part.indices(num_draws))), axis=0)
        for block, effects in zip(design.terms, draws.effects, strict=True):
            eta += block.added(block.of_rows(effects[part]), design.num_predictors)
        of_draw = None
        if moved is not None:
            eta += moved.eta[part]
            of_draw = moved.own[part] if moved.own is not None else None
        values = fit.params.own if of_draw is None else of_draw[0]
        own = tuple(tf.constant(value, tf.float64) for value in values)
        # The density has the predictors and then the rows in front.
        turned = tf.constant(family.as_taken(np.moveaxis(eta, 0, -1), 0))
        likelihood[0, part] = np.transpose(log_density(family, turned, response, own).numpy())
        sequence = np.random.SeedSequence([seed, number])
        simulated[0, part] = draw_rows(fit, eta, arrays, sequence, of_draw)
    return likelihood, simulated
