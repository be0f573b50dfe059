"""Results of frames on the GPU: where they lie, how they are read and handed over."""
