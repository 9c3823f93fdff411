"""The marginal likelihood of small blocks of effects, by quadrature."""
