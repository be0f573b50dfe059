"""Frames from sources through a segmenter to sinks."""
