"""Gated layers: every choice of the search on one set of shared weights, off exactly where the gate is off.

A channel that is off must be zero after its batch norm, not before: batch norm turns a zero into its shift. So gates
multiply the batch norm's gamma and beta, and a closed channel keeps its statistics up to date and a gradient by which
it can open again. Deviation from Single-Path NAS, which masks the kernel, and so searches a network other than the one
it decodes to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.activations import FUNCTIONS
from autonl_tf.layers.arguments import ascending, below_one, descending_to_one, one_of
from autonl_tf.layers.gates import channel_mask, option_weights
from autonl_tf.layers.initializers import FanOutNormal, fan_out_stddev, light_nl_depthwise
from autonl_tf.layers.light_nl import BN_EPSILON, BN_MOMENTUM, flatten_positions, subsample
from autonl_tf.layers.precision import wide_dtype
from autonl_tf.layers.registering import registered


@registered
class GatedBatchNormalization(keras.layers.Layer):
    """Batch norm of [B, H, W, C] whose gamma and beta are multiplied by a mask, [C] or a scalar.

    Epsilon 1e-3. Parameters and statistics are float32 whatever the compute type. `is_batch_norm` excludes it from
    weight decay. Where it is not `trainable` it uses its moving statistics in training too, as Keras' does.

    Args:
      gamma_initializer: of gamma.
      synchronized: statistics are those of all replicas' batches. As with Keras' synchronized batch norm, the moving
        variance is then the population's, without the factor n / (n - 1) of the fused one.

    Raises:
      ValueError: a momentum that is not from 0 to below 1.
    """

    is_batch_norm = True

    def __init__(
        self, gamma_initializer: str = "ones", momentum: float = BN_MOMENTUM, synchronized: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.gamma_initializer, self.synchronized = gamma_initializer, synchronized
        self.momentum = below_one("GatedBatchNormalization", "momentum", momentum)

    def build(self, input_shape):
        wide = {"shape": [input_shape[-1]], "dtype": "float32", "experimental_autocast": False}
        local = {
            **wide,
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
        }
        self.gamma = self.add_weight(name="gamma", initializer=self.gamma_initializer, **wide)
        self.beta = self.add_weight(name="beta", initializer="zeros", **wide)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **local)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **local)
        self.built = True

    def call(self, inputs, mask=1.0, training=None):
        scale, offset = self.gamma * mask, self.beta * mask  # [C]
        if not training or not self.trainable:
            return tf.compat.v1.nn.fused_batch_norm(
                inputs, scale, offset, self.moving_mean, self.moving_variance, BN_EPSILON, is_training=False
            )[0]
        if self.synchronized:
            x = tf.cast(inputs, tf.float32)
            mean, variance = _moments_of_all_replicas(x)
            outputs = tf.cast(tf.nn.batch_normalization(x, mean, variance, offset, scale, BN_EPSILON), inputs.dtype)
        else:
            outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=BN_EPSILON)
        self.moving_mean.assign_sub((self.moving_mean - mean) * (1 - self.momentum))
        self.moving_variance.assign_sub((self.moving_variance - variance) * (1 - self.momentum))
        return outputs

    def get_config(self):
        return {
            **super().get_config(),
            "gamma_initializer": self.gamma_initializer,
            "momentum": self.momentum,
            "synchronized": self.synchronized,
        }


def _moments_of_all_replicas(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance [C] of [B, H, W, C] over the batches of all replicas, which are of one size."""
    context = tf.distribute.get_replica_context()

    def over_all(values: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(values, [0, 1, 2])
        if context is None or context.num_replicas_in_sync == 1:
            return mean
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, mean)

    # The mean of squares less the squared mean loses the variance where the mean is far larger than it.
    mean = over_all(x)
    return mean, over_all(tf.square(x - mean))


@registered
class GatedSqueezeExcite(keras.layers.Layer):
    """Squeeze-excite whose presence and number of filters are chosen by gates, [B, H, W, C] to the same.

    scale = g_1 s + (1 - g_1), s = sigmoid(W2 (mask * f(W1 mean(x) + b1)) + b2): exactly 1 when it is off, exactly s
    when it is on. A smaller ratio uses the first of the largest one's filters. The scale is computed in float32
    whatever the compute type: a short type would round it near 1, and g_1's gradient is a difference of sums.

    Args:
      filters: candidates for the number of reduced filters, ascending.
      activation: f, by its name in an architecture's header.

    Raises:
      ValueError: an argument that is not accepted.

    Call arguments:
      inputs: [B, H, W, C].
      gates: one scalar a candidate: whether there is any, then whether to go on to the next larger.
    """

    def __init__(self, filters: tuple[int, ...], activation: str = "swish", **kwargs):
        super().__init__(**kwargs)
        self.filters = ascending("GatedSqueezeExcite", "filters", filters)
        self.activation = one_of("GatedSqueezeExcite", "activation", activation, list(FUNCTIONS))
        self.groups = increments(self.filters)

    def build(self, input_shape):
        convolution = {
            "kernel_initializer": FanOutNormal(),
            "dtype": self.dtype_policy,
            "data_format": "channels_last",
        }
        self.reduce = keras.layers.Conv2D(self.filters[-1], 1, name="reduce", **convolution)
        self.expand = keras.layers.Conv2D(input_shape[-1], 1, name="expand", **convolution)
        for layer, channels in ((self.reduce, input_shape[-1]), (self.expand, self.filters[-1])):
            with tf.name_scope(layer.name):
                layer.build([None, 1, 1, channels])
        self.built = True

    def call(self, inputs, gates):
        mean = tf.reduce_mean(inputs, [1, 2], keepdims=True)  # [B, 1, 1, C]
        mask = tf.cast(channel_mask(self.groups, gates[1:]), inputs.dtype)  # [r], r the most filters
        reduced = FUNCTIONS[self.activation](self.reduce(mean)) * mask  # [B, 1, 1, r]
        scale = tf.sigmoid(tf.cast(self.expand(reduced), wide_dtype(self.dtype_policy)))  # [B, 1, 1, C]
        gate = tf.cast(gates[0], scale.dtype)
        return inputs * tf.cast(gate * scale + (1 - gate), inputs.dtype)

    def group_values(self) -> list[tf.Tensor]:
        """RMS of the reduce weights [1, 1, C, r] of each group of the filters over the initialiser's stddev."""
        kernel = self.reduce.kernel
        stddev = fan_out_stddev(kernel.shape)
        return [tf.sqrt(tf.reduce_mean(tf.square(group))) / stddev for group in tf.split(kernel, self.groups, axis=3)]

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "activation": self.activation}


@registered
class GatedLightNL(keras.layers.Layer):
    """LightNL whose presence, channel ratio and stride are chosen by gates, [B, H, W, C] to the same.

    With m over theta's channels and w over strides (one-hot where gates are 0 or 1), K_s = phi_s^T g_s:

        y = (theta * m) (sum_s w_s K_s) / (H * W);    out = x + g BN(DepthwiseConv3x3(y))

    More candidate ratios add no product; a further stride s adds 1 / s^2 of one. In training it also returns distances:

        ratio r:  ||A_r - A_max||_F / ||A_max||_F, A = theta theta^T, from the c x c Gram matrix theta^T theta alone,
                  which is the first c columns of K_1: ||A_max||^2 = sum(G^2), the difference's the block left out
        stride s: ||K_s / n_s - K_1 / n_1||_F / ||K_1 / n_1||_F, n positions

    Each is averaged over the batch; no gradient flows through them. They are relative, so that thresholds on them mean
    the same in every block. A stride's can exceed 1. All of it is float32 whatever the compute type. Source: the
    paper, section 3.2, in product form.

    Args:
      filters: candidates for theta's channels, ascending.
      strides: candidates, descending to 1.
      sync_batch_norm: see `GatedBatchNormalization`.

    Raises:
      ValueError: an argument that is not accepted, or more filters than channels.

    Call arguments:
      inputs: [B, H, W, C], H and W static.
      presence: scalar gate.
      ratio_gates, stride_gates: one scalar for each step up the candidates.

    Returns:
      outputs, and in training the distances of every candidate but the last: [ratios - 1], [strides - 1].
    """

    def __init__(self, filters: tuple[int, ...], strides: tuple[int, ...], sync_batch_norm: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.filters = ascending("GatedLightNL", "filters", filters)
        self.strides = descending_to_one("GatedLightNL", "strides", strides)
        self.sync_batch_norm = sync_batch_norm
        self.groups = increments(self.filters)

    def build(self, input_shape):
        channels = input_shape[-1]
        if self.filters[-1] > channels:
            raise ValueError(
                f"GatedLightNL: filters={self.filters}: accepted: at most the {channels} channels there are"
            )
        self.depthwise_kernel = self.add_weight(
            name="depthwise_kernel",
            shape=[3, 3, channels, 1],
            initializer=light_nl_depthwise(),
            dtype="float32",
            experimental_autocast=False,
        )
        self.bn = GatedBatchNormalization("zeros", synchronized=self.sync_batch_norm, name="bn", dtype="float32")
        with tf.name_scope(self.bn.name):
            self.bn.build(input_shape)
        self.built = True

    def call(self, inputs, presence, ratio_gates, stride_gates, training=None):
        x = tf.cast(inputs, self.depthwise_kernel.dtype)
        widest = self.filters[-1]
        theta = flatten_positions(x[..., :widest])  # [B, N, c], N = H*W, c the most channels
        contexts, positions = [], []
        for map_ in subsampled(x, self.strides):
            g = flatten_positions(map_)  # [B, N_s, C]
            contexts.append(tf.matmul(g[..., :widest], g, transpose_a=True))  # K_s, [B, c, C]
            positions.append(g.shape[1])
        context = tf.add_n([w * k for w, k in zip(option_weights(stride_gates), contexts, strict=True)])  # [B, c, C]
        y = tf.matmul(theta * channel_mask(self.groups, ratio_gates), context)  # [B, N, C]
        y = tf.reshape(y, [-1, *x.shape[1:]]) * (1.0 / theta.shape[1])  # [B, H, W, C]
        y = tf.nn.depthwise_conv2d(y, self.depthwise_kernel, [1] * 4, "SAME")
        outputs = inputs + tf.cast(self.bn(y, presence, training=training), inputs.dtype)
        if not training:
            return outputs, None
        return outputs, self._distances([tf.stop_gradient(k) for k in contexts], positions)

    def _distances(self, contexts: list[tf.Tensor], positions: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
        """The distances of the call, by a number of operations that does not grow with the candidates."""
        squares = tf.square(contexts[-1][..., : self.filters[-1]])  # of the Gram matrix G, [B, c, c]
        from_channel = tf.linalg.diag_part(tf.cumsum(tf.cumsum(squares, 1, reverse=True), 2, reverse=True))  # [B, c]
        left_out = tf.gather(from_channel, np.array(self.filters[:-1], np.int32), axis=1)  # [B, ratios - 1]
        means = tf.stack(contexts) / np.reshape(positions, [-1, 1, 1, 1])  # [strides, B, c, C]
        apart = tf.reduce_sum(tf.square(means[:-1] - means[-1]), [2, 3])  # [strides - 1, B]
        reference = tf.reduce_sum(tf.square(means[-1]), [1, 2])  # [B]
        return _mean_root_ratio(left_out, from_channel[:, :1], 0), _mean_root_ratio(apart, reference, 1)

    def presence_value(self) -> tf.Tensor:
        """Mean square of the depthwise kernel over its expectation at initialisation (Glorot uniform): 1 there."""
        channels = self.depthwise_kernel.shape[2]
        return tf.reduce_mean(tf.square(self.depthwise_kernel)) * (9 * channels + 9) / 2

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "sync_batch_norm": self.sync_batch_norm,
        }


def increments(filters: Sequence[int]) -> list[int]:
    """How many filters each candidate adds to the one before."""
    return [after - before for before, after in zip((0, *filters), filters, strict=False)]


def subsampled(x: tf.Tensor, strides: tuple[int, ...]) -> list[tf.Tensor]:
    """x[:, ::s, ::s, :] of [B, H, W, C] for every stride of a list that descends to 1.

    Each is taken from the coarsest finer one whose stride divides its own, whose gradient then is small too.
    """
    maps = {1: x}
    for stride in sorted(strides):
        finer = max(other for other in maps if stride % other == 0)
        maps[stride] = maps[finer] if finer == stride else subsample(maps[finer], stride // finer)
    return [maps[stride] for stride in strides]


def _mean_root_ratio(squares: tf.Tensor, references: tf.Tensor, batch_axis: int) -> tf.Tensor:
    """sqrt(squares / references), averaged over the batch; where a reference is 0 it counts as 0."""
    return tf.reduce_mean(tf.sqrt(tf.math.divide_no_nan(squares, references)), batch_axis)
