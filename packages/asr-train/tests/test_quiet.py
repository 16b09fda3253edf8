"""Standard error is for what a user can use."""

import subprocess
import sys

TRACED_OFTEN = """
import tensorflow as tf
double = tf.function(lambda x: 2 * x)
for size in range(1, 9):
    double(tf.zeros([size]))
tf.get_logger().warning("something else")
"""


def told(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr


def test_a_trace_for_each_shape_is_no_news_and_other_warnings_are() -> None:
    assert "retracing" in told(TRACED_OFTEN)  # that there is something to be silent about
    ours = told("from asr_train.quiet import import_tensorflow; import_tensorflow()" + TRACED_OFTEN)
    assert "something else" in ours and ours.count("\n") == 1
