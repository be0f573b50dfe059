"""How good masks are: evaluation, metrics, contact sheets."""
