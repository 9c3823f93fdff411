"""LaTeX of formulas: every covariance structure is told apart."""

from __future__ import annotations

import itertools

import pytest

from lmeformula.formula import parse

# The covariance of term 1, as it is written behind its distribution.
PATTERNS = {
    "(1 | g)": r"b_{1,j} &\sim \mathcal{N}(0, \sigma_{1}^2)",
    "(1 + t | g)": r"\mathbf{b}_{1,j} &\sim \mathcal{N}(\mathbf{0}, \Sigma_{1})",
    "diag(0 + t | g)": r"\Sigma_{1} = \operatorname{diag}(\sigma_{1,1}^2, \sigma_{1,2}^2, \dots)",
    "homdiag(0 + t | g)": r"\Sigma_{1} = \sigma_{1}^2\,I",
    "cs(0 + t | g)": (
        r"(\Sigma_{1})_{rr} = \sigma_{1,r}^2, \quad "
        r"(\Sigma_{1})_{rs} = \sigma_{1,r}\,\sigma_{1,s}\,\rho_{1} \; (r \neq s)"
    ),
    "homcs(0 + t | g)": (
        r"(\Sigma_{1})_{rr} = \sigma_{1}^2, \quad "
        r"(\Sigma_{1})_{rs} = \sigma_{1}^2\,\rho_{1} \; (r \neq s)"
    ),
    "ar1(0 + t | g)": r"(\Sigma_{1})_{rs} = \sigma_{1}^2\,\rho_{1}^{|r - s|}",
    "hetar1(0 + t | g)": r"(\Sigma_{1})_{rs} = \sigma_{1,r}\,\sigma_{1,s}\,\rho_{1}^{|r - s|}",
    "toep(0 + t | g)": r"(\Sigma_{1})_{rs} = \sigma_{1,r}\,\sigma_{1,s}\,\rho_{1,|r - s|}",
    "homtoep(0 + t | g)": r"(\Sigma_{1})_{rs} = \sigma_{1}^2\,\rho_{1,|r - s|}",
    "rr(0 + t | g)": (
        r"\Sigma_{1} = \Lambda_{1} \Lambda_{1}', \quad \Lambda_{1} \text{ with } 2 \text{ columns}"
    ),
    "propto(0 + t | g, A)": r"\Sigma_{1} = \sigma_{1}^2\,\mathbf{\text{A}}",
    "equalto(0 + t | g, A)": r"\Sigma_{1} = \mathbf{\text{A}}",
    "exp(0 + u + v | g)": r"(\Sigma_{1})_{rs} = \sigma_{1}^2\,\exp(-d_{rs} / \lambda_{1})",
    '(1 + t | gr(g, dist = "student"))': r"\mathrm{t}_{\nu_{1}}(\mathbf{0}, \Sigma_{1})",
}


@pytest.mark.parametrize("term", PATTERNS)
def test_a_term_shows_what_its_covariance_is(term):
    assert parse(f"y ~ x + {term}")._repr_latex_().splitlines()[-3].endswith(PATTERNS[term])


def test_no_two_structures_are_written_alike():
    texts = [parse(f"y ~ x + {term}")._repr_latex_() for term in PATTERNS]
    assert not [pair for pair in itertools.combinations(texts, 2) if pair[0] == pair[1]]


def test_terms_with_one_label_have_one_distribution():
    lines = parse("y ~ x + (1 |p| g) + (1 | h) + (0 + z |p| g)")._repr_latex_().splitlines()
    assert lines[4:6] == [
        r"(\mathbf{b}_{1,j}, \mathbf{b}_{3,j}) &\sim "
        r"\mathcal{N}(\mathbf{0}, \Sigma_{\text{p}}) \\",
        r"b_{2,j} &\sim \mathcal{N}(0, \sigma_{2}^2)",
    ]
