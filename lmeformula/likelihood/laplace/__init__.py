"""The Laplace approximation to the marginal likelihood, for any response family."""
