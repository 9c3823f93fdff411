"""Draws of all parameters and effects given the data and priors, by the no-U-turn sampler."""
