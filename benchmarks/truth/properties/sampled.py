from truth.held import Finding
def _none(held):
    return iter(())
likelihood = errors = other_starts = quadrature = against_truth = same_bits = _none
