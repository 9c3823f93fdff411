"""A campaign: random models on random data, each held to properties, with a dense implementation as the
judge.

A case is a data set and a model, both made from a seed and an index (`generate`): unbalanced and tiny
groups, empty cells, columns that others determine or nearly do, variances that are zero, means of
thousands, gaps. Its fit is held to what must be true whatever the data:

- against NumPy alone (`matrices`, `normal`, `laplace`, `quadrature`, `integral`; nothing of the library but the
  names of its columns): the model matrix is what its names say and spans what the formula says; the
  log-likelihood at the estimates; that a Newton step gains nothing; that a climb from another start,
  boundaries included, finds no more; the standard errors of all parameters, from differences of fourth
  order, boundary parameters held;
- against the same model coded otherwise (`properties.recodings`): contrasts, cells for main effects,
  `||` as diag, rows permuted, levels renamed, columns and responses in other units, weights and offsets
  given otherwise, gaps;
- against itself later (`properties.afterwards`): predict, refit, update, save and load, pickle,
  simulate; profiles, refits to draws and rows left out come to an end or say why not (`properties.following`);
- against another method or solver: blocks for dense products, the iterative solver, exact for lognormal
  and for Gaussian models by Monte Carlo, quadrature for one factor by Monte Carlo, within the errors
  reported;
- of a fit by quadrature the means and sds of its effects are those of the integral; a case of which no number
  of nodes tells the integral counts as one that the judge does not know;
- a fit that says converged has a standard error for each parameter that is not at a boundary, and a
  direction of the likelihood that is flat is not called converged; one that does not converge says why.

A discrepancy is measured in units of its tolerance. A case that fails is shrunk to fewer rows and terms
(`shrink`), and printed as Python. `benchmarks/campaign.py` is the command line, `make bench-truth` a
run of a few minutes.
"""
