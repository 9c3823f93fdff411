"""Geometry of a posterior that only its log density tells of: mode, curvature, Laplace's approximation."""
