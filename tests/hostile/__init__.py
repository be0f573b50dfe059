"""Hostile files and misuse by seed: ``python -m tests.hostile --seed 1``; see ``__main__``."""
