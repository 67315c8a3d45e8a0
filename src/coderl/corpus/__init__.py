"""Code without problems, for pretraining: where it is read from, what is left out, and how it is kept as tokens."""
