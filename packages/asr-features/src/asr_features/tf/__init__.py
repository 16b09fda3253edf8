"""The same functions in a TensorFlow graph; needs the extra `tf`, and is alone here in importing TensorFlow."""

from .augment import spec_augment
from .graph import in_graph

__all__ = ["in_graph", "spec_augment"]
