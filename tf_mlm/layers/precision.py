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
