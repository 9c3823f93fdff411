"""Joint distributions that were written by hand: those that a formula could say are fitted as one."""
