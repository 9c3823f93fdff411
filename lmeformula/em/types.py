"""The records of the engine: what it is given, what it carries, what it reports.

Shapes: d parameters, q latents, c chains (always the last axis of what is sampled), n rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints, Tensor
from lmeformula.checkpoint.memory import Remembers
from lmeformula.em.observed import Information
from lmeformula.em.outcome import Outcome


class Geometry(NamedTuple):
    """What is known about the posterior of the latents and about the parameters at one parameter vector.

    Attributes:
      arrays: what the problem's functions need to move in whitened coordinates: a nested structure of arrays.
      complete: (d, d) expected complete-data information; None if the engine is to estimate it.
      observed: (d, d) observed information, exact or approximate; None if the engine is to estimate it.
    """

    arrays: Any
    complete: Floats | None = None
    observed: Floats | None = None


class Scores(NamedTuple):
    """Complete-data scores at one draw of the latents.

    Attributes:
      raw: (d, c) derivative of the log joint density in the parameters.
      controlled: (d, c) something of the same posterior expectation and less variance; raw if nothing is known.
    """

    raw: Tensor
    controlled: Tensor


class Evaluated(NamedTuple):
    """What a problem's functions say at one draw of the latents.

    Attributes:
      value: (c,) log density.
      gradient: (q, c) its gradient.
      scores: there.
      latents: (q, c).
    """

    value: Tensor
    gradient: Tensor
    scores: Scores
    latents: Tensor


class Edge(NamedTuple):
    """A boundary where parameters may end: a variance of zero, a correlation of one.

    On the unconstrained scale it lies at infinity, and the likelihood is flat on the way. Near it the rise of
    the log-likelihood is proportional to the square of the distance, so that its sign at a stand-in close by
    says on which side the maximum is.

    Attributes:
      name: the same at all parameters.
      directions: (d, h) orthonormal; the first points to the boundary. None is moved while the edge is held.
      nearness: distance to the boundary: the root of the share that the term keeps in what is seen of a level.
        Above 1 the term is well inside; inf where the boundary is not to be tried.
      outside: (d,) the parameters with this edge at its stand-in.
      inside: (d,) the parameters with it a moderate way inside.
      of_covariance: whether it is one of a covariance of random effects.
    """

    name: str
    directions: Floats
    nearness: float
    outside: Floats
    inside: Floats
    of_covariance: bool = False


class Look(NamedTuple):
    """What draws say of the likelihood at edges that are held, without the noise that scores have there.

    Attributes:
      names: of the edges concerned.
      edges: those given, perhaps with another way inside.
      series: (m, e, c) whose mean is the rise of the log-likelihood towards each, up to a positive factor.
    """

    names: tuple[str, ...]
    edges: tuple[Edge, ...]
    series: Floats


class Padding(NamedTuple):
    """How a problem's arrays stand among larger ones, which data of many sizes share with their programs.

    The problem's functions must give the same for either: what is added counts for nothing in them, and adds no
    latent that moves.

    Attributes:
      latents: (q,) where each of the problem's latents stands.
      num_latents: how many places there are.
      data: the problem's data -> the larger arrays.
      arrays: those of a geometry -> the larger ones.
    """

    latents: Ints
    num_latents: int
    data: Callable[[Any], Any]
    arrays: Callable[[Any], Any]


class Problem(NamedTuple):
    """A log joint density of parameters and latents, ready for the engine.

    The functions are called inside one compiled program; `arrays` are those of the current
    Geometry. Build one from a density with `from_log_joint` or from a JointDistribution with
    `from_joint`; a compiled formula brings its own, which differs in being faster.

    Attributes:
      params: (d,) where to start, unconstrained.
      names: (d,) names of the parameters as reported.
      latents: (q,) where the chains start, in latent coordinates.
      data: a nested structure of arrays that the functions receive, so that they are arguments of
        the program and not constants in it.
      density: (params (d,), position (q, c), arrays, data) -> (log density (c,), its gradient (q, c)), in the
        coordinates of the sampler.
      score: (params, position, gradient, arrays, data) -> Scores.
      to_latents: (position (q, c), arrays, data) -> latents (q, c); affine.
      evaluated: (params, position, arrays, data) -> Evaluated: the three above in one pass, which share most of
        their work; None where each is asked by itself.
      to_position: (latents (q,), arrays) -> position (q,); NumPy, used once at the start.
      geometry: params (d,) -> Geometry on the host, or None: then the engine learns a diagonal whitening.
      nearby: the same close to the parameters that `geometry` was asked for last. It remembers nothing, so that
        several threads may ask at once; None where only `geometry` knows.
      information: (params, position, arrays, data) -> (d, d) complete-data information, the negative second
        derivative averaged over chains; needed only where `geometry` does not give it.
      report: params (d,) -> the reported scale (d,), with its (d, d) Jacobian.
      max_step: (d,) largest step of each parameter in one iteration; inf for any. A longer step is taken
        in the same direction.
      program: equal for two problems whose functions are the same code: they share one compiled program if
        the shapes of their arrays are the same too. None if nothing is known of that.
      padding: how its arrays are brought to shapes that others have; None if they are taken as they are, as
        those of a density that is the user's own.
      refine: whether the geometry's observed information is an approximation that the engine is to replace by
        an estimate from its draws, once it is near the maximum.
      edges: params (d,) -> the boundaries that the parameters may end at, each by its name.
      look: (params (d,), geometry, positions (m, q, c), held edges) -> Look, on the host; None where only the
        scores tell how the likelihood goes at an edge.
      memory: what `geometry` remembers from one call to the next; None where that is nothing.
      solver: what finds the maximum in the place of the loop, or None: (problem, options, seed, dtype,
        progress) -> Solution.
      num_workers: how many times chains walk side by side; as many as this machine is good for by default.
      walk: what lets them walk elsewhere, (engine, what is asked, where they are and the size of their steps)
        -> what each says, see `em.draws`; None for here.
    """

    params: Floats
    names: tuple[str, ...]
    latents: Floats
    data: Any
    density: Callable[..., tuple[Tensor, Tensor]]
    score: Callable[..., Scores]
    to_latents: Callable[..., Tensor]
    to_position: Callable[..., Floats]
    report: Callable[[Floats], tuple[Floats, Floats]]
    evaluated: Callable[..., Evaluated] | None = None
    geometry: Callable[[Floats], Geometry] | None = None
    nearby: Callable[[Floats], Geometry] | None = None
    information: Callable[..., Tensor] | None = None
    max_step: Floats | None = None
    program: Hashable | None = None
    padding: Padding | None = None
    refine: bool = False
    edges: Callable[[Floats], tuple[Edge, ...]] | None = None
    look: Callable[[Floats, Geometry, Floats, tuple[Edge, ...]], Look] | None = None
    memory: Remembers | None = None
    solver: Callable[..., Solution] | None = None
    num_workers: int | None = None
    walk: Callable[..., list[Any]] | None = None


class Options(NamedTuple):
    """How hard to try.

    Attributes:
      tolerance: stop when every Monte Carlo error is below this fraction of the parameter's standard error.
      num_chains: chains that run side by side.
      num_draws: draws per chain in the first iteration; they grow as the stop rule asks.
      max_draws: most draws per chain in one iteration.
      max_iterations: most iterations.
      num_leapfrog: most steps per transition.
      target_acceptance: acceptance probability that the step size is tuned for.
      mstep: "newton" (default) or "adam".
      learning_rate: of Adam.
      control_variates: use the problem's controlled scores; off only to check them.
      watched: positions of latents whose draws are kept.
    """

    tolerance: float = 0.01
    num_chains: int = 2
    num_draws: int = 20
    max_draws: int = 50_000
    max_iterations: int = 200
    num_leapfrog: int = 16
    target_acceptance: float = 0.85
    mstep: str = "newton"
    learning_rate: float = 0.05
    control_variates: bool = True
    watched: tuple[int, ...] = ()


class Info(NamedTuple):
    """Looked at after an iteration, never fed back; on the host.

    Attributes:
      score: (d,) mean controlled score: the gradient of the log-likelihood, estimated.
      step: (d,) the step taken.
      distance: (d,) Newton's distance to the maximum, observed information^-1 score; 0 for what is held at a
        boundary.
      mc_covariance: (d, d) Monte Carlo covariance of `distance`.
      stderr: (d,) standard errors from the observed information; inf for what is held at a boundary.
      observed: (d, d) observed information that was used.
      resolved: whether the observed information was usable as it was, without being held up by a floor.
      reduction: (d,) variance of the raw scores over that of the controlled ones.
      acceptance: mean acceptance probability.
      divergences: transitions that ended at a non-finite energy.
      rhat: largest split R-hat over the raw scores.
      effective: smallest effective number of draws over the raw scores.
      latent_mean: (q,) mean of the latents.
      latent_variance: (q,) their variance.
      at_edges: of each edge that is held its name, the rise of the log-likelihood towards it up to a positive
        factor, and the Monte Carlo error of that.
    """

    score: Floats
    step: Floats
    distance: Floats
    mc_covariance: Floats
    stderr: Floats
    observed: Floats
    resolved: bool
    reduction: Floats
    acceptance: float
    divergences: int
    rhat: float
    effective: float
    latent_mean: Floats
    latent_variance: Floats
    at_edges: tuple[tuple[str, float, float], ...] = ()

    @property
    def mc_error(self) -> Floats:
        """(d,) Monte Carlo standard errors of `distance`."""
        return np.sqrt(np.diag(self.mc_covariance))


class Iteration(NamedTuple):
    """One line of the trace, on the host.

    Attributes:
      number: counted from 1.
      estimates: (d,) on the reported scale, after the step.
      largest_step: largest distance to the maximum, in standard errors.
      largest_error: largest Monte Carlo error, in standard errors.
      num_draws: draws per chain.
      acceptance: mean acceptance probability.
      seconds: of this iteration, compilation included.
    """

    number: int
    estimates: Floats
    largest_step: float
    largest_error: float
    num_draws: int
    acceptance: float
    seconds: float


class Solution(NamedTuple):
    """What the engine found.

    Attributes:
      params: (d,) estimates, unconstrained.
      mc_covariance: (d, d) their Monte Carlo covariance, on the unconstrained scale.
      information: (d, d) observed information, at the estimates.
      basis: (d, f) orthonormal directions that are not held.
      outcome: how it ended.
      draws: (m, w) the last draws, at most 1,000, of the watched latents in the last iteration.
      positions: (k, q, c) the draws of the last iteration in the sampler's coordinates, the first of them.
      excess: (m, c) the log density over that of N(0, I) at the draws of the last iteration, there.
      sampled_at: (d,) the parameters of the last E-step.
      monte_carlo: what the information was estimated from, where that was the last draws.
      held: names of the edges that the estimates lie on.
      trace: one Iteration for each.
      info: Info of the last iteration, or None if there was none.
      geometry: the geometry at the last E-step, or None if there was none.
      num_traces: how often the program that draws was traced, over all fits that shared it.
      compile_seconds: time of the first call over the median of the others, the part that is compilation.
      method: what the engine knew of the density: "structured" where the problem brought a geometry,
        "recognised" where a model of known structure was seen in it, "dense" or "matrix-free" where the
        geometry came from its derivatives, "diagonal" where only scales were learned from draws.
      without_information: names of the parameters that the data do not determine.
    """

    params: Floats
    mc_covariance: Floats
    information: Floats
    basis: Floats
    outcome: Outcome
    draws: Floats
    positions: Floats
    excess: Floats
    sampled_at: Floats
    monte_carlo: Information | None = None
    held: tuple[str, ...] = ()
    trace: tuple[Iteration, ...] = ()
    info: Info | None = None
    geometry: Geometry | None = None
    num_traces: int = 0
    compile_seconds: float = 0.0
    method: str = "structured"
    without_information: tuple[str, ...] = ()

    @classmethod
    def nothing(cls, params: Floats, outcome: Outcome) -> Solution:
        """A solution that has no more than parameters (d,): where they started, or got to."""
        unknown, none = np.full((len(params), len(params)), np.nan), np.zeros((0, 0))
        return cls(
            params=params,
            mc_covariance=unknown,
            information=unknown,
            basis=np.eye(len(params)),
            outcome=outcome,
            draws=none,
            positions=np.zeros((0, 0, 0)),
            excess=none,
            sampled_at=params,
        )

    @property
    def mc_error(self) -> Floats:
        """(d,) Monte Carlo standard errors of `params`."""
        return np.sqrt(np.diag(self.mc_covariance))
