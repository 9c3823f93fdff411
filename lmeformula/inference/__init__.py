"""What a fit says of its parameters: intervals, tests, marginal means, profiles, refits."""
