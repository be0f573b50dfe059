"""Where outputs go, and how files get there."""
