"""What a recording tells about its own pictures: how they lie, which are in doubt, which are missing."""
