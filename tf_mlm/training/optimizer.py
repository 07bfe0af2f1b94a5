"""AdamW, StableAdamW, LAMB and Muon on plain variables.

Keras's optimizers are not used here for three reasons: they have one learning rate for all
variables (no layer-wise decay), their LAMB leaves the weight decay out of the trust ratio, and
under a strategy they update through `merge_call`, which cannot stand inside one XLA program with
the gradient. The tests hold these updates against Keras's where both define the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import Parameter

Local = Callable[[tf.Variable], tf.Variable]
PART_BYTES = 64 * 2**20
MOMENTUM, NEWTON_SCHULZ_STEPS, MUON_SCALE = 0.95, 5, 0.2
"""Muon's constants, as Keras has them; the scale is Moonlight's, by which AdamW's rate and decay fit Muon."""
_QUINTIC = 3.4445, -4.7750, 2.0315


class Optimizer(tf.Module):
    """Global-norm clipping, then the rule, with decoupled weight decay; all state in variables.

    StableAdamW is AdamW with the rate of a parameter divided by how much larger its gradient is than the
    running average says, where it is. Muon makes the averaged gradient of each matrix inside a layer
    orthogonal; embeddings, the head and vectors follow AdamW.

    Args:
        parameters: what is trained, with factors on learning rate and decay.
        schedule: finished steps → learning rate.
        config: rule and constants.

    Attributes:
        step: int64 [], finished updates.
        first, second: running averages of the gradient and its square, one pair per parameter; what Muon
            updates has no second.

    References:
        Loshchilov and Hutter (AdamW), https://arxiv.org/abs/1711.05101; Wortsman et al. (StableAdamW),
        https://arxiv.org/abs/2304.13013; You et al. (LAMB), https://arxiv.org/abs/1904.00962; Jordan et al.
        (Muon), https://kellerjordan.github.io/posts/muon; Liu et al. (its scale),
        https://arxiv.org/abs/2502.16982.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.training.optimizer import Optimizer
        >>> from tf_mlm.training.options import TrainConfig
        >>> from tf_mlm.training.parameter_groups import Parameter
        >>> weight = tf.Variable([[1.0]])
        >>> config = TrainConfig(weight_decay=0.0)
        >>> optimizer = Optimizer([Parameter("w", weight, 1.0, 1.0)], lambda step: tf.constant(0.1), config)
        >>> norm, rate = optimizer.apply([tf.constant([[4.0]])])
        >>> round(float(weight[0, 0]), 4), float(norm)
        (0.9, 4.0)
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        schedule: Callable[[tf.Tensor], tf.Tensor],
        config: TrainConfig,
    ) -> None:
        super().__init__(name="optimizer")
        self.parameters = tuple(parameters)
        self._schedule = schedule
        self._config = config
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")

        def zeros(name: str, parameter: Parameter) -> tf.Variable:
            value = tf.zeros(parameter.variable.shape)
            return tf.Variable(value, trainable=False, name=f"{name}/{parameter.name}")

        self.first = [zeros("first", parameter) for parameter in self.parameters]
        self.second = [None if self._is_muon(p) else zeros("second", p) for p in self.parameters]

    def _is_muon(self, parameter: Parameter) -> bool:
        return self._config.optimizer == "muon" and parameter.is_hidden

    def state(self) -> dict[str, tf.Variable]:
        """Every variable of the optimizer under a unique name."""
        named = {"step": self.step}
        for parameter, first, second in zip(self.parameters, self.first, self.second, strict=True):
            named[f"first/{parameter.name}"] = first
            if second is not None:
                named[f"second/{parameter.name}"] = second
        return named

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        *,
        divisor: tf.Tensor | float = 1.0,
        local: Local = lambda variable: variable,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One update of all parameters.

        Args:
            gradients: dense float tensors in the order of `parameters`, already summed over replicas.
            divisor: what the gradients are to be divided by; done here, it costs no pass of its own.
            local: the variable itself, or the copy on the replica that calls.

        Returns:
            Global norm before clipping and learning rate, both float32 [].
        """
        config, step_variable = self._config, local(self.step)
        norm = _global_norm(gradients) / divisor
        scale = tf.minimum(1.0, config.clip_norm / tf.maximum(norm, 1e-30)) if config.clip_norm else 1.0
        scale /= divisor
        rate = self._schedule(step_variable.read_value())
        step = tf.cast(step_variable.read_value() + 1, tf.float32)
        first_correction = 1.0 - tf.pow(config.beta_1, step)
        second_correction = 1.0 - tf.pow(config.beta_2, step)
        for parameter, first, second, gradient in zip(
            self.parameters, self.first, self.second, gradients, strict=True
        ):
            variable, first = local(parameter.variable), local(first)
            gradient = tf.cast(gradient, tf.float32) * scale
            if second is None:
                self._muon(parameter, variable, first, gradient, rate)
                continue
            second = local(second)
            new_first = config.beta_1 * first + (1 - config.beta_1) * gradient
            new_second = config.beta_2 * second + (1 - config.beta_2) * tf.square(gradient)
            update = new_first / first_correction
            update /= tf.sqrt(new_second / second_correction) + config.epsilon
            if parameter.decay:  # else 0 times a bias of minus infinity would be no number
                update += config.weight_decay * parameter.decay * variable
            if config.optimizer == "lamb" and parameter.decay:
                update *= _trust_ratio(variable, update)
            if config.optimizer == "stableadamw":
                update /= _excess(gradient, new_second / second_correction, config.epsilon)
            first.assign(new_first, read_value=False)
            second.assign(new_second, read_value=False)
            variable.assign_sub(rate * parameter.rate * update, read_value=False)
        step_variable.assign_add(1, read_value=False)
        return norm, rate

    def _muon(
        self,
        parameter: Parameter,
        variable: tf.Variable,
        first: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
    ) -> None:
        average = MOMENTUM * first + gradient
        update = orthogonal(gradient + MOMENTUM * average)
        update *= MUON_SCALE * max(variable.shape) ** 0.5
        update += self._config.weight_decay * parameter.decay * variable
        first.assign(average, read_value=False)
        variable.assign_sub(rate * parameter.rate * update, read_value=False)


def orthogonal(matrix: tf.Tensor) -> tf.Tensor:
    """About the nearest matrix whose singular values are 1, by five steps of Newton and Schulz.

    Example:
        >>> float(tf.round(tf.norm(orthogonal(tf.constant([[9.0, 0.0], [0.0, 3.0]])))))
        1.0
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = tf.transpose(matrix) if is_tall else matrix
    x /= tf.norm(x) + 1e-7
    a, b, c = _QUINTIC
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
    return tf.transpose(x) if is_tall else x


def _excess(gradient: tf.Tensor, second: tf.Tensor, epsilon: float) -> tf.Tensor:
    """How many times larger the gradient is than the running average of its square says, or 1."""
    ratio = tf.square(gradient) / tf.maximum(second, epsilon**2)
    return tf.maximum(1.0, tf.sqrt(tf.reduce_mean(ratio)))


def _global_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """The norm of all gradients as one vector, which is the norm of the norms of their rows.

    XLA keeps the squares it sums, so a large table is taken in parts: they need the memory of one part.
    """
    norms = []
    for gradient in gradients:
        columns = gradient.shape[-1] if gradient.shape.rank else 1
        rows = tf.reshape(tf.cast(gradient, tf.float32), [-1, columns])
        size = max(1, PART_BYTES // (4 * rows.shape[1]))
        for start in range(0, rows.shape[0], size):
            norms.append(tf.norm(rows[start : start + size], axis=1))
    return tf.norm(tf.concat(norms, 0))


def _trust_ratio(variable: tf.Variable, update: tf.Tensor) -> tf.Tensor:
    """‖weights‖ / ‖update‖, or 1 where either is 0."""
    weight_norm, update_norm = tf.norm(variable), tf.norm(update)
    usable = (weight_norm > 0) & (update_norm > 0)
    return tf.where(usable, weight_norm / tf.where(usable, update_norm, 1.0), 1.0)
