"""Marginal likelihoods, their derivatives and their ascents: exact, and by Laplace's approximation."""
