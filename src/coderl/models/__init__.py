"""Networks: the actor, the critic, the value model. Loading, saving, and one forward pass each; no losses, no training."""
