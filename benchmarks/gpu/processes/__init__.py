"""Measurements on a GPU, each a process of its own."""
