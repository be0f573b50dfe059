"""Streams and recordings from the network."""
