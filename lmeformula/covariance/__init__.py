"""Covariance structures, one a file: how parameters give the covariance of a term's coefficients."""
