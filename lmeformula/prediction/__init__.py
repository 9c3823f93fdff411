"""Predictors, means and responses of rows, seen or new, from the posterior of a fit's effects."""
