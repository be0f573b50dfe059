"""Labelled pictures in the layouts they are published in."""
