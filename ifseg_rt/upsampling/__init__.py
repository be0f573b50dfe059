"""Scores on the patch grid to one label per pixel, exactly."""
