"""Miniature worlds that ship: models, prompts, rewards, and an oracle that knows the true preference."""
