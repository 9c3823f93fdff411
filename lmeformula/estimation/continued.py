"""A call that makes many fits, with a checkpoint: gone on with after those that were made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lmeformula.checkpoint.folder import opened
from lmeformula.checkpoint.trees import Tree, digest
from lmeformula.em.types import Options
from lmeformula.estimation.fingerprint import fingerprint
from lmeformula.fit import FittedModel


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
    with opened(checkpoint) as folder:
        if folder is None:
            yield
            return
        choices = {"the call": call, "the estimates": digest(fit.param_values)}
        choices |= {"method": fit.method, "solver": fit.solver, "reml": str(fit.reml)}
        choices |= {name: digest(value) for name, value in asked.items()}
        known = fingerprint(fit.model, Options() if options is None else options, choices)
        with folder.journal_of(known) as journal:
            yield
            journal.is_finished = True
