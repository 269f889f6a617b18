"""RMSProp as TensorFlow 1 defines it."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


class TF1RMSprop(keras.optimizers.Optimizer):
    """For every variable w with gradient g, learning rate lr:

        ms  <- rho * ms + (1 - rho) * g^2
        mom <- momentum * mom + lr * g / sqrt(ms + epsilon)
        w   <- w - mom

    It differs from `keras.optimizers.RMSprop` in three ways, as the official training needs: epsilon is
    inside the square root, ms starts at ONE, and momentum sums up steps already scaled by their learning
    rate. Source: the update of TensorFlow 1's `tf.train.RMSPropOptimizer`; the same fused kernel is used.
    """

    def __init__(self, learning_rate, rho=0.9, momentum=0.9, epsilon=1e-3):
        super().__init__(name="TF1RMSprop", weight_decay=None, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.rho, self.momentum, self.epsilon = rho, momentum, epsilon

    def build(self, var_list) -> None:
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        # The start value belongs to the slot's creation: apply_gradients calls build() at every trace, and an
        # assignment there would reset the slots of a run under way.
        self._mean_squares = [
            self.add_variable_from_reference(v, "mean_square", initial_value=tf.ones(v.shape, v.dtype))
            for v in var_list
        ]
        self._momenta = [self.add_variable_from_reference(v, "momentum") for v in var_list]

    def update_step(self, gradient, variable) -> None:
        index = self._index_dict[self._var_key(variable)]
        dtype = gradient.dtype
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._mean_squares[index].handle,
            mom=self._momenta[index].handle,
            lr=tf.cast(self.learning_rate, dtype),
            rho=tf.constant(self.rho, dtype),
            momentum=tf.constant(self.momentum, dtype),
            epsilon=tf.constant(self.epsilon, dtype),
            grad=gradient,
        )
