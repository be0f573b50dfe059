"""Measurements of the product as a user meets it: quality (`benchmarks.miou`) and time (`benchmarks.latency`).

Not installed with the packages; run from a checkout with the ``dev`` extra: ``python -m benchmarks.miou --help``.
"""
