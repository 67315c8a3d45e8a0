"""The mathematics, alone: pure functions on tensors of shape (B, T) with a bool mask (True = counts).

No files, no models, no configuration, no randomness. `docs/paper-map.md` has one row per public function: equation, source, test,
and in what it differs from the paper or from the released code.

Notation: B programs in a batch, T token positions, V words in the vocabulary, D features of a state, C outcomes (4, or 2 for critic
sampling). t counts from 0 in code and from 1 in the equations. Functions that take more than one stream take them by the same (B, T).
"""
