"""One model's likelihoods of many responses, climbed side by side."""
