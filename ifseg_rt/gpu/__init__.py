"""A frame on the GPU, in one stream."""
