"""The papers' tables and figures, and ours beside them."""
