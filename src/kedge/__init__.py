"""Kedge: haul a few-step image generator towards a reward, anchored to the model it started from."""

__version__ = "0.2.0.dev0"
