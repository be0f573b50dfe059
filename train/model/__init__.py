"""The model: pure modules built from one frozen :class:`train.config.ModelConfig`."""

from train.model.refinement import neighbours, refine
from train.model.segmentation import IFSegModel

__all__ = ["IFSegModel", "neighbours", "refine"]
