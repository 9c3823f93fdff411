"""Result stage: statistics of a fit; numbers only, no printing."""
