"""The OFA family: an encoder-decoder over image patches and words (spec 3 to 8)."""
