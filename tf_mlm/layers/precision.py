"""Which dtype variables are stored in, and which one the arithmetic runs in."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class Precision:
    """A dtype policy: `mixed_bfloat16` keeps float32 variables and computes in bfloat16.

    Example:
        >>> Precision.of("mixed_bfloat16")
        Precision(compute='bfloat16', variable='float32')
    """

    compute: str
    variable: str

    @classmethod
    def of(cls, dtype: Any) -> Precision:
        """The policy behind a name, a TensorFlow or NumPy dtype, a Keras dtype policy or its serialised form.

        Raises:
            ValueError: when the name is neither a float dtype nor `mixed_` and one.
        """
        if isinstance(dtype, Precision):
            return dtype
        if isinstance(dtype, dict):  # keras.dtype_policies.serialize
            dtype = dtype["config"]["name"]
        name = str(getattr(dtype, "name", None) or getattr(dtype, "__name__", dtype))  # np.float32 is a class
        compute = name.removeprefix("mixed_")
        if compute not in _FLOATS:
            raise ValueError(
                "`dtype` must be a float dtype or a mixed policy, such as 'float32', 'bfloat16' or "
                f"'mixed_bfloat16'. Received: dtype={dtype!r}."
            )
        return cls(compute, "float32" if compute != name else name)

    @property
    def name(self) -> str:
        return self.compute if self.compute == self.variable else f"mixed_{self.compute}"

    @property
    def statistics(self) -> tf.DType:
        """For sums over many elements (norms, softmax, logits of mixed policies): never below float32."""
        return tf.float64 if self.compute == "float64" else tf.float32

    @property
    def logits(self) -> tf.DType:
        """Mixed policies return float32 logits; pure ones keep their dtype."""
        return tf.as_dtype(self.variable)

    def cast(self, tensor: Any) -> tf.Tensor:
        """`tensor` in the compute dtype."""
        return tf.cast(tensor, self.compute)


def product(
    left: tf.Tensor, right: tf.Tensor, *, transpose_a: bool = False, transpose_b: bool = False
) -> tf.Tensor:
    """`left @ right` as float32; the dtype of `right` says in what the numbers are multiplied.

    bfloat16 numbers are multiplied as such and summed in float32, which TensorFlow has for XLA alone.
    Processors without bfloat16 multiply them as float32.
    """
    if right.dtype != tf.bfloat16:
        return tf.matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b)
    return _summed_in_float32(tf.cast(left, right.dtype), right, transpose_a, transpose_b)


@tf.function(jit_compile=True, autograph=False)
def _summed_in_float32(left: tf.Tensor, right: tf.Tensor, transpose_a: bool, transpose_b: bool) -> tf.Tensor:
    return tf.raw_ops.BatchMatMulV3(x=left, y=right, Tout=tf.float32, adj_x=transpose_a, adj_y=transpose_b)
