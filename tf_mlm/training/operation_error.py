"""What went wrong in an operation of TensorFlow, without where in its graph."""

from __future__ import annotations

import tensorflow as tf


def reason(error: tf.errors.OpError) -> str:
    """The words of the operation itself, of the message that TensorFlow makes around them.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.training.operation_error import reason
        >>> message = "{{function_node __wrapped__ReadFile_device_/job:localhost}} not there [Op:ReadFile]"
        >>> reason(tf.errors.NotFoundError(None, None, message))
        'not there'
    """
    return str(error.message).rpartition("}} ")[2].partition(" [Op:")[0]
