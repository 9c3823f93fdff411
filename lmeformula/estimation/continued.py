"""A call that makes many fits, with a checkpoint: gone on with after those that were made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lmeformula.checkpoint.folder import opened
from lmeformula.checkpoint.trees import Tree, digest
from lmeformula.em.types import Options
from lmeformula.estimation.fingerprint import fingerprint
from lmeformula.fit import FittedModel
from lmeformula.model.compile import Model


@contextmanager
def continued(
    checkpoint: str | os.PathLike[str] | None,
    call: str,
    fit: FittedModel,
    options: Options | None = None,
    **asked: Tree,
) -> Iterator[None]:
    """Keep a journal of the pieces of a call in a folder; and go on from where it ends, if there is one.

    What ends inside by an exception, such as an interrupt, leaves it there.

    Args:
      checkpoint: the folder; None for no journal.
      call: what it is called.
      fit: what it is of.
      options: of the Monte Carlo EM engine.
      asked: all else that its numbers depend on.
    Raises:
      CheckpointError: if the journal is of another call, or another process has it.
      OSError: if the folder cannot be made, or written to.
    """
    choices = {"the estimates": digest(fit.param_values)}
    choices |= {"method": fit.method, "solver": fit.solver, "reml": str(fit.reml)}
    with continued_of_model(checkpoint, call, fit.model, options, choices, **asked):
        yield


@contextmanager
def continued_of_model(
    checkpoint: str | os.PathLike[str] | None,
    call: str,
    model: Model,
    options: Options | None = None,
    choices: Mapping[str, str] | None = None,
    **asked: Tree,
) -> Iterator[None]:
    """The same of a call that has a model, and no fit yet.

    Args:
      checkpoint: the folder; None for no journal.
      call: what it is called.
      model: what it is of.
      options: of the Monte Carlo EM engine.
      choices: more that is known by name, in words.
      asked: all else that its numbers depend on.
    """
    with opened(checkpoint) as folder:
        if folder is None:
            yield
            return
        named = {"the call": call, **(choices or {})}
        named |= {name: digest(value) for name, value in asked.items()}
        known = fingerprint(model, Options() if options is None else options, named)
        with folder.journal_of(known) as journal:
            yield
            journal.is_finished = True
