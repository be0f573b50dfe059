"""Checkpoint files in every layout that is read, and our own."""
