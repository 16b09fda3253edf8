"""TensorFlow without its chatter."""

import logging
import os
from importlib import import_module


def import_tensorflow() -> None:
    """Import TensorFlow with the process's standard error closed to it.

    Its libraries print notices about the machine while they are loaded, before any log level is heard, and an error
    where they look for GPUs and there is no driver. An import that fails raises as usual.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import_module("tensorflow").config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    logging.getLogger("tensorflow").addFilter(_worth_reading)


def _worth_reading(record: logging.LogRecord) -> bool:
    """Not that a function is traced again and again: with fixed shapes each is traced once, as it is meant."""
    return "tf.function retracing" not in record.getMessage()
