"""Videos that are playable whatever happens: written frame by frame, finished and moved into place at the end."""
