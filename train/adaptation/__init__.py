"""Image-free adaptation of a model to a list of words."""
