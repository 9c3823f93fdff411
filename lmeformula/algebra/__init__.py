"""Linear algebra of the penalised normal equations: cross products and their block factorization."""
