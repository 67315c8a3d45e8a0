"""Networks: the actor, the critic, the value model. Loading, saving, and one forward pass each; no losses, no training."""

from transformers.utils import logging

logging.disable_progress_bar()  # a stage shows its own progress
