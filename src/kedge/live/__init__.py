"""A local page that shows runs while they train: curves, pictures, the alarm, and base against tuned by a slider."""
