"""The same model fitted to many other responses: all at once where its likelihood can be, else one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Mask
from lmeformula.checkpoint.folder import opened
from lmeformula.checkpoint.trees import digest
from lmeformula.design.design import Design
from lmeformula.design.frame import is_frame, open_frame
from lmeformula.design.respond import with_response
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.estimation.continued import continued
from lmeformula.estimation.replicates import (
    Together,
    exactly_together,
    marginally_together,
)
from lmeformula.estimation.resumed import resumed
from lmeformula.fit import FittedModel, not_of_draws
from lmeformula.inference.in_turn import Refit, in_turn, refit_of, response_of
from lmeformula.inference.refit import carrier_of, check_refit, refit_alone, start_from
from lmeformula.likelihood.laplace.fit import Care
from lmeformula.watch import watched

if TYPE_CHECKING:
    from lmeformula.em.progress import Progress


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Refits:
    """Fits of one model to m responses; `refits[i]` is the `Refit` of one, and they can be gone through.

    Attributes:
      names: (d) names of the parameters.
      num_fixed: p, how many of them, the first ones, are fixed effects.
      values: (m, d) estimates, on the reporting scale.
      fixed_vcov: (m, p, p) covariances of the fixed effects.
      logliks: (m,) log-likelihoods, or restricted ones.
      outcomes: (m) how each fit ended.
      singular: (m,) whether a covariance of random effects is singular.
      labels: (m) what the responses are called.
    """

    names: tuple[str, ...]
    num_fixed: int
    values: Floats
    fixed_vcov: Floats
    logliks: Floats
    outcomes: tuple[Outcome, ...]
    singular: Mask
    labels: tuple[object, ...]

    @classmethod
    def of(
        cls, fit: FittedModel, found: list[Refit], labels: tuple[object, ...] | None = None
    ) -> Refits:
        """The record of some refits of a fit's model."""
        space, m = fit.model.space, len(found)
        return cls(
            names=fit.param_names,
            num_fixed=space.num_fixed,
            values=np.array([one.values for one in found]).reshape(m, space.size),
            fixed_vcov=np.array([one.fixed_vcov for one in found]).reshape(
                m, space.num_fixed, space.num_fixed
            ),
            logliks=np.array([one.loglik for one in found]),
            outcomes=tuple(one.outcome for one in found),
            singular=np.array([one.singular for one in found], bool),
            labels=tuple(range(m)) if labels is None else labels,
        )

    @property
    def stderr(self) -> Floats:
        """(m, p) standard errors of the fixed effects."""
        return np.asarray(np.sqrt(np.maximum(np.einsum("mpp->mp", self.fixed_vcov), 0.0)))

    @property
    def converged(self) -> Mask:
        """(m,) which estimates are the maximum-likelihood ones."""
        return np.array([outcome.converged for outcome in self.outcomes], bool)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __getitem__(self, place: int) -> Refit:
        return Refit(
            self.values[place],
            self.fixed_vcov[place],
            float(self.logliks[place]),
            self.outcomes[place],
            bool(self.singular[place]),
        )

    def __iter__(self) -> Iterator[Refit]:
        return (self[place] for place in range(len(self)))

    def to_frame(self) -> pd.DataFrame:
        """A row for each response: the estimates, "se(...)" of fixed effects, loglik, singular, outcome."""
        fixed = self.names[: self.num_fixed]
        return pd.DataFrame(
            {
                **dict(zip(self.names, self.values.T, strict=True)),
                **dict(zip((f"se({name})" for name in fixed), self.stderr.T, strict=True)),
                "loglik": self.logliks,
                "singular": self.singular,
                "outcome": [outcome.name for outcome in self.outcomes],
            },
            index=list(self.labels),
        )

    def __repr__(self) -> str:
        m, is_good = len(self), self.converged
        lines = [f"{m:,} refits, {is_good.sum():,} converged, {self.singular.sum():,} singular"]
        if is_good.any():
            values = self.values[is_good]
            table = pd.DataFrame(
                {"mean": values.mean(axis=0), "sd": values.std(axis=0)}, index=list(self.names)
            )
            lines.append(table.to_string(float_format=lambda value: f"{value:.5g}", max_rows=10))
        return "\n".join(lines)


@kinds.takes(
    seed=kinds.seed,
    progress=kinds.optional(kinds.display),
    options=kinds.optional(kinds.instance(Options, "Give lf.em.Options(...).")),
    checkpoint=kinds.optional(kinds.path),
)
@not_of_draws("refits")
def refit(
    fit: FittedModel,
    y: Any,
    *,
    seed: int = 0,
    options: Options | None = None,
    progress: Progress | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> FittedModel | Refits:
    """Fit a model to another response, or to many, by the same method, from the estimates at hand.

    What depends on the predictors and groups alone is worked out once for all refits of a Gaussian model. Many
    responses are fitted side by side where all effects are of one grouping factor, each to where a fit of its
    own would end: that takes a tenth of the time of one after the other, or less; a third of it, where the
    family has own parameters. Those whose own parameters end at a limit are fitted alone after all, and so are
    all of other families than the Gaussian where rows have a frequency.

    Args:
      fit: of the model.
      y: a value of the response for each row that the fit used, or for each row of its data; on the scale of
        the formula's left-hand side, such as log(y). A column of `fit.simulate` is one. Many: a data frame with
        a column for each, of pandas, as `fit.simulate` gives one, or of another library; or an array (n, m). Of
        a response of two columns, such as successes and failures, an array (n, 2) is one response.
      seed: of Monte Carlo fits.
      options: of the Monte Carlo EM engine.
      progress: shown the iterations of the engine.
      checkpoint: a folder, which is made, for what was worked out: killed at any moment, the call goes on from
        there when it is made again, and ends at the same bits. It is removed at the end.
    Returns:
      The fit; that of `lmeformula.fit` to data with this response. Of many responses the record of them:
      estimates, standard errors of fixed effects, log-likelihoods and outcomes, `to_frame()`, and `[i]`.
    Raises:
      FormulaDataError: if the values do not fit the rows or the first response's kind; before any is fitted.
      ModelError: if the family does not take them, or one of its categories is not among them.
      CheckpointError: if the checkpoint is of another call, damaged, or in use by another process.
    Example:
      >>> import lmeformula as lf
      >>> fitted = lf.fit("Reaction ~ Days + (Days|Subject)", lf.datasets.load("sleepstudy"))
      >>> twice = fitted.refit(2.0 * fitted.model.design.y)
      >>> twice.fixef.round(2).to_dict()
      {'Intercept': 502.81, 'Days': 20.93}
      >>> many = fitted.refit(fitted.simulate(50, seed=1))
      >>> len(many), bool(many.converged.all())
      (50, True)
    """
    began = time.perf_counter()
    if _is_many(fit, y):
        return refit_each(fit, y, seed=seed, options=options, checkpoint=checkpoint)
    design = with_response(fit.model.design, y)
    check_refit(fit, design)

    def run() -> FittedModel:
        return refit_alone(fit, design, seed, options, progress)

    with opened(checkpoint) as folder:
        if folder is None:
            found = run()
        else:
            settings = Options() if options is None else options
            choices = {"the call": "refit", "seed": seed, "method": fit.method, "reml": fit.reml}
            choices |= {"solver": fit.solver, "the estimates": digest(fit.param_values)}
            model = replace(fit.model, design=design)
            found = resumed(run, folder, model, settings, choices)
    return replace(found, seconds=found.seconds._replace(total=time.perf_counter() - began))


def _is_many(fit: FittedModel, y: Any) -> bool:
    """Whether these are several responses: a table, or an array (n, m) that is not one of them."""
    if is_frame(y):
        return True
    response = fit.model.design.response
    is_pair = response is not None and response.values.shape[1:] == (2,)
    return isinstance(y, np.ndarray) and y.ndim == 2 and not (is_pair and y.shape[1] == 2)


def refit_each(
    fit: FittedModel,
    Y: Any,
    *,
    seed: int = 0,
    options: Options | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Refits:
    """Fit a model to the columns of a table or an array (n, m), which are looked at before any is fitted.

    Args:
      fit: of the model.
      Y: the responses, each as `refit` takes one.
      seed: of Monte Carlo fits.
      options: of the Monte Carlo EM engine.
      checkpoint: see `refit`.
    Raises:
      FormulaDataError: if values do not fit the rows or the first response's kind.
      ModelError: if the family does not take them, or one of its categories is not among them.
    """
    labels: tuple[object, ...]
    if isinstance(Y, pd.DataFrame):
        labels, columns = tuple(Y.columns), [Y.iloc[:, place] for place in range(Y.shape[1])]
    elif isinstance(Y, np.ndarray):
        labels, columns = tuple(range(Y.shape[1])), list(Y.T)
    else:
        table = open_frame(Y)
        labels = table.columns
        columns = [table.series(place).to_native() for place in range(len(labels))]
    if not columns:
        raise FormulaDataError(
            "there are no new responses", hint="Give a table or an array with a column for each."
        )
    designs = []
    for label, column in zip(labels, columns, strict=True):
        try:
            design = with_response(fit.model.design, column)
            check_refit(fit, design)
        except (FormulaDataError, ModelError) as error:
            raise type(error)(f"in column {label!r}: {error.problem}", hint=error.hint) from None
        designs.append(design)
    given = tuple(map(response_of, designs))
    found = []
    with (
        continued(checkpoint, "refit", fit, options, seed=seed, responses=given),
        watched("refits", len(designs), "responses") as watch,
    ):
        for one in refitted(fit, designs, seed=seed, options=options):
            found.append(one)
            watch.step()
    return Refits.of(fit, found, labels)


def refitted(
    fit: FittedModel,
    designs: Iterable[Design],
    *,
    seed: int = 0,
    options: Options | None = None,
) -> Iterator[Refit]:
    """Fit a model to other responses, which it takes: several at once where that can be.

    Args:
      fit: of the model.
      designs: its design with those responses.
      seed: of Monte Carlo fits.
      options: of the Monte Carlo EM engine.
    Yields:
      What the fits found, in the order of the responses.
    """
    yield from in_turn(
        fits_together(fit), lambda one: refit_of(refit_alone(fit, one, seed, options)), designs
    )


def fits_together(fit: FittedModel) -> Together | None:
    """How a model is fitted to several responses at once by the method of a fit; None where that cannot be."""
    if fit.has_priors or fit.model.space.has_known_scale:
        # Replicates side by side are of likelihoods alone, whose covariances go along with sigma.
        return None
    if fit.is_exact and fit.is_factored:
        return exactly_together(fit, carrier_of(fit.model))
    if fit.model.design.frequency is not None:
        # Replicates side by side are of one observation a row.
        return None
    if fit.marginal.method != fit.method or not fit.is_factored:
        return None
    care = Care(looks_far=fit.has_modes, marginal=fit.marginal)
    return marginally_together(fit.model, care, start_from(fit, fit.model))
