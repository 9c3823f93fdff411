"""Fits to many responses in turn: several at once where they can be, and those alone that this leaves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arrays import Floats
from lmeformula.checkpoint.journal import piece
from lmeformula.checkpoint.trees import Tree
from lmeformula.design.design import Design
from lmeformula.em.outcome import Outcome
from lmeformula.estimation.replicates import Estimates, Together
from lmeformula.fit import FittedModel

# Most responses that are fitted between two places where the user can stop it and keep those that are done.
MOST_AT_A_TIME = 1000


class Refit(NamedTuple):
    """What a fit to one of many responses found.

    Attributes:
      values: (d,) estimates, on the reporting scale.
      fixed_vcov: (p, p) covariance of the fixed effects.
      loglik: the log-likelihood, or the restricted one.
      outcome: how it ended.
      singular: whether a covariance of random effects is singular.
    """

    values: Floats
    fixed_vcov: Floats
    loglik: float
    outcome: Outcome
    singular: bool

    @property
    def converged(self) -> bool:
        """Whether the estimates are the maximum-likelihood ones."""
        return self.outcome.converged

    @property
    def stderr(self) -> Floats:
        """(p,) standard errors of the fixed effects."""
        return np.sqrt(np.maximum(np.diag(self.fixed_vcov), 0.0))


def in_turn(
    together: Together | None,
    alone: Callable[[Design], Refit],
    designs: Iterable[Design],
    *,
    with_errors: bool = True,
) -> Iterator[Refit]:
    """Fits to several responses at once, and to those alone that these do not settle.

    Args:
      together: fits to several; None where all are fitted alone.
      alone: fits to one.
      designs: a design with those responses; an interrupt that comes from where they are made leaves those
        before it to be fitted.
      with_errors: whether standard errors are asked for, where they cost much, and where a fit without end
        comes to.
    Yields:
      What the fits found, in the order of the responses.
    """
    if together is None:
        yield from (_piece(alone, design) for design in designs)
        return
    left, stopped = iter(designs), None
    while stopped is None:
        some: list[Design] = []
        try:
            # Those before an interrupt stay in the list.
            some.extend(itertools.islice(left, min(MOST_AT_A_TIME, together.at_a_time)))
        except KeyboardInterrupt as interrupt:
            stopped = interrupt
        if not some:
            break
        with one_blas_thread():
            found = _pieces(together, some, with_errors)
        for place, design in enumerate(some):
            is_endless = bool(found.is_endless[place])
            if not found.found[place] and (with_errors or not is_endless):
                yield _piece(alone, design)
                continue
            yield Refit(
                found.values[place],
                found.fixed_vcov[place],
                float(found.logliks[place]),
                Outcome.SEPARATION if is_endless else Outcome.CONVERGED,
                bool(found.singular[place]),
            )
    if stopped is not None:
        raise stopped


def _piece(alone: Callable[[Design], Refit], design: Design) -> Refit:
    """A fit to one response, or what it found before."""

    def work() -> Tree:
        found = alone(design)
        return (*found[:3], found.outcome.name, found.singular)

    values, vcov, loglik, outcome, singular = piece("refit", response_of(design), work)
    return Refit(values, vcov, loglik, Outcome[outcome], singular)


def _pieces(together: Together, some: list[Design], with_errors: bool) -> Estimates:
    """Fits to several responses, or what they found before."""
    given = (with_errors, *map(response_of, some))
    return piece("refits", given, lambda: together(some, with_errors))


def response_of(design: Design) -> Floats:
    """The values of its response."""
    assert design.response is not None
    return design.response.values


def refit_of(found: FittedModel) -> Refit:
    """What is kept of a fit."""
    return Refit(
        found.param_values,
        found.fixed_vcov,
        found.loglik.value,
        found.outcome,
        found.singular,
    )
