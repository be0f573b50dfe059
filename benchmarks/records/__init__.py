"""Measured records, and the tables and charts made of them."""
