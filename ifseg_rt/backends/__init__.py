"""The libraries that run a network."""
