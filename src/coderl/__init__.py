"""coderl: reinforcement learning for code models from unit tests (CodeRL), with a judge that cannot be fooled."""

__version__ = "0.1.0"
