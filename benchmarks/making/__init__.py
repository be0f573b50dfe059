"""Models made for a measurement."""
