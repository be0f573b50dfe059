"""How long frames take."""
