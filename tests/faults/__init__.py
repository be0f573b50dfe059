"""Faults by seed, thrown at the real command; see README.md of this folder."""
