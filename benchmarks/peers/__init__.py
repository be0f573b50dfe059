"""Other networks of the field on the same frames: ``python -m benchmarks.peers``."""
