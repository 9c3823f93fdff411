"""What a fit claims of its answer, claim by claim, with the figure that each rests on: a record."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that must hold of the estimates, and what was found when it was looked at.

    Attributes:
      name: what is claimed: "stationarity", "curvature", "boundaries", "covariance", "second opinion", ...
      holds: whether it does; None where it could not be examined.
      figure: what was found; nan where there is no figure.
      bound: the figure up to which it holds; nan where there is none.
      names: the parameters concerned, where it does not hold or needs a word.
      words: a sentence.
    """

    name: str
    holds: bool | None
    figure: float
    bound: float
    names: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """What was examined at the end of a fit, apart from the optimiser that led there.

    Attributes:
      claims: one line for each.
    Example:
      >>> still = Claim("stationarity", True, 1e-12, 1e-6, (), "no rise of the log-likelihood is left")
      >>> Certificate((still,))
      holds  stationarity  no rise of the log-likelihood is left
      >>> Certificate((still,)).holds
      True
    """

    claims: tuple[Claim, ...]

    @property
    def holds(self) -> bool:
        """Whether no claim fails."""
        return not self.failing

    @property
    def failing(self) -> tuple[Claim, ...]:
        """The claims that do not hold."""
        return tuple(claim for claim in self.claims if claim.holds is False)

    def saying(self, instead: str, what: str) -> Certificate:
        """The same with other words for what was examined.

        Args:
          instead: words to replace.
          what: by these.
        """
        return Certificate(
            tuple(replace(claim, words=claim.words.replace(instead, what)) for claim in self.claims)
        )

    def __getitem__(self, name: str) -> Claim:
        """The claim of that name; KeyError where there is none."""
        for claim in self.claims:
            if claim.name == name:
                return claim
        raise KeyError(name)

    def __repr__(self) -> str:
        width = max((len(claim.name) for claim in self.claims), default=0)
        signs = {True: "holds", False: "FAILS", None: "open "}
        return "\n".join(
            f"{signs[claim.holds]}  {claim.name:{width}}  {claim.words}" for claim in self.claims
        )
