"""Measurements of time, each a process of its own."""
