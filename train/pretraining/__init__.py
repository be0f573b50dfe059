"""Pre-training of the small shipped model."""
