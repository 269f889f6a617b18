"""Layers put into a functional Keras model, behind layers it has: LightNL into MobileNetV2, say."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tf_keras as keras


def insert_behind(model: keras.Model, layers: Mapping[str, keras.layers.Layer]) -> keras.Model:
    """A copy of `model`, weights included, in which the output of each named layer goes through a further layer.

    Args:
      model: functional, of one input and one output, every layer in it used once and called with tensors alone.
      layers: name of a layer -> what its output is to go through, [B, ...] to the same shape.

    Raises:
      ValueError: a name that no layer has, a layer called with more than tensors (as TensorFlow functions in a model
        are) or more than once, or a model that is not functional.
    """
    unknown = sorted(set(layers) - {layer.name for layer in model.layers})
    if unknown:
        raise ValueError(f"{model.name} has no layer {unknown[0]!r}")
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    made = {tensor.ref(): tensor for tensor in copy.inputs}
    for layer in copy.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if len(layer.inbound_nodes) != 1:
            raise ValueError(f"layer {layer.name!r} is used {len(layer.inbound_nodes)} times; accepted: once")
        node = layer.inbound_nodes[0]
        if node.call_kwargs or len(node.call_args) != 1:
            raise ValueError(f"layer {layer.name!r} is called with more than tensors, which would be lost")
        outputs = layer.output
        result = layer(tf.nest.map_structure(lambda tensor: made[tensor.ref()], layer.input))
        made[outputs.ref()] = layers[layer.name](result) if layer.name in layers else result
    return keras.Model(copy.inputs, made[copy.output.ref()], name=model.name)
