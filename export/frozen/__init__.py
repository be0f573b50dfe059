"""The module that is exported: everything that depends only on weights, words and size is folded in."""
