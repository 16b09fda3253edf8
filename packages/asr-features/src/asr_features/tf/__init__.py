"""The same functions in a TensorFlow graph; needs the extra `tf`, and is alone here in importing TensorFlow."""

from .frontends import log_mel

__all__ = ["log_mel"]
