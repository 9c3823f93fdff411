"""Whether a model's equations are factored or solved iteratively: chosen from memory and work."""

from __future__ import annotations

from typing import NamedTuple

from lmeformula.errors import ModelError
from lmeformula.model.compile import Model
from lmeformula.rows.machine import GIB, machine_memory

SOLVERS = ("auto", "direct", "iterative")

# The direct solver factors a dense block whose order is the number of effects of all terms but the largest.
# It is left for the iterative one where that block, with the copies that a fit makes of it, would take more
# than this share of the machine's memory ...
MEMORY_SHARE = 0.5
# ... or where one factorization would take longer than this, and this many times as long as the iterative
# solver's equations for the same parameters.
MOST_SECONDS = 5.0
WORTHWHILE = 5.0

# Dense blocks that are held at once: the products, the factor, its inverse and their scaled copies; sampling
# adds those of its compiled program.
BLOCKS = {"exact": 4, "quadrature": 5, "laplace": 5, "mcem": 9}
# Operations per second on one core: of a dense factorization, and of sparse products with several columns.
DENSE_SPEED = 2e10
SPARSE_SPEED = 5e8
# What the iterative solver does for one parameter vector: columns times iterations times two products.
SPARSE_WORK = 11 * 15 * 2


class Estimate(NamedTuple):
    """What the direct solver would need.

    Attributes:
      order: number of rows of the dense block.
      memory: bytes.
      seconds: of one factorization and inverse.
      iterative_seconds: of the iterative solver, for the same parameters.
    """

    order: int
    memory: float
    seconds: float
    iterative_seconds: float


def choose_solver(model: Model, method: str, solver: str, memory: float | None = None) -> str:
    """Choose between the solvers, or check the one that was asked for.

    Args:
      model: what to fit.
      method: "exact", "quadrature", "laplace" or "mcem".
      solver: "auto", "direct" or "iterative".
      memory: bytes of this machine; found out by default.
    Returns:
      "direct" or "iterative".
    Raises:
      ModelError: for a solver that does not exist, or a direct one that the memory does not hold.
    """
    if solver not in SOLVERS:
        raise ModelError(f"there is no solver {solver!r}", hint=f"Solvers: {', '.join(SOLVERS)}.")
    if model.design.shards is not None:
        return _over_workers(method, solver)
    if any(term.meets for term in model.design.terms):
        if solver == "iterative":
            raise ModelError(
                "the iterative solver is for levels that are independent and do not share rows, not for those "
                "of a known covariance, and of mm(g, h)",
                hint='Leave solver="auto", which is the direct one there.',
            )
        return "direct"
    # Chains of several predictors are whitened by a factor.
    by_quadrature = method == "quadrature"
    only_direct = by_quadrature or (model.design.num_predictors > 1 and method == "mcem")
    if only_direct:
        if solver == "iterative":
            raise ModelError(
                "quadrature is by the direct solver"
                if by_quadrature
                else "Monte Carlo EM by the iterative solver is for models with one linear predictor",
                hint='Use solver="direct", or method="laplace".',
            )
        solver = "direct"
    if solver == "iterative":
        return solver
    needs = estimate_direct(model, method)
    memory = machine_memory() if memory is None else memory
    if solver == "direct":
        if needs.memory > memory:
            raise ModelError(
                f"the direct solver would need about {needs.memory / GIB:,.0f} GiB for a dense block of order "
                f"{needs.order:,}, and this machine has {memory / GIB:,.0f} GiB",
                hint='Use method="laplace", which the iterative solver takes.'
                if only_direct
                else 'Use solver="iterative", or leave the choice to solver="auto".',
            )
        return solver
    is_slow = needs.seconds > max(MOST_SECONDS, WORTHWHILE * needs.iterative_seconds)
    return "iterative" if needs.memory > MEMORY_SHARE * memory or is_slow else "direct"


def _over_workers(method: str, solver: str) -> str:
    """The solver of rows with workers: nothing is factored there."""
    if method not in ("exact", "laplace"):
        raise ModelError(
            f"{method} is not fitted over the workers of a cluster",
            hint='method="laplace" is, and so are Gaussian models, exactly; for others cluster=False reads the '
            "rows into this process.",
        )
    if solver == "direct":
        raise ModelError(
            "the direct solver factors what this process has, and the rows are with workers",
            hint='Leave solver="auto", which is the iterative one there; cluster=False reads the rows '
            "into this process.",
        )
    return "iterative"


def can_be_factored(model: Model) -> bool:
    """Whether the equations of a model are small enough for the direct solver."""
    return choose_solver(model, "laplace", "auto") == "direct"


def estimate_direct(model: Model, method: str) -> Estimate:
    """What the direct solver would need; see `Estimate`."""
    design = model.design
    sizes = sorted(len(term.levels) * len(term.columns) for term in design.terms)
    lead, order = sizes[-1], sum(sizes[:-1])
    memory = 8.0 * BLOCKS[method] * order**2
    if method != "exact":
        # The inverse's block between the lead term and the rest is dense.
        memory += 8.0 * lead * order
    # As the methods read them: a row for each predictor, and for each pair of them.
    k = design.num_predictors
    rows = design.n * (k * (k + 1) // 2) * sum(len(term.columns) for term in design.terms)
    return Estimate(order, memory, order**3 / DENSE_SPEED, SPARSE_WORK * rows / SPARSE_SPEED)
