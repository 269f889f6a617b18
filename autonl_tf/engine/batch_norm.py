"""Which variables belong to batch norm: they are spared weight decay, and their statistics are averaged; and what a
forward pass in training writes."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

LIGHT_NL_BN = "_nl_bn"  # the end of its name, after the block's


def is_batch_norm(layer) -> bool:
    """Whether `layer` is a batch norm: of Keras, or any layer with the attribute `is_batch_norm = True`."""
    return isinstance(layer, keras.layers.BatchNormalization) or getattr(layer, "is_batch_norm", False) is True


def batch_norms(model) -> list:
    """Every batch norm within `model`, nested ones included."""
    return [layer for layer in unique((model, *model.submodules)) if is_batch_norm(layer)]


def set_momentum(model, momentum: float) -> None:
    """Momentum of the moving statistics of every batch norm within `model`; before its training step is traced."""
    for layer in batch_norms(model):
        layer.momentum = momentum


def batch_norm_variables(model) -> list[tf.Variable]:
    """All variables (gamma, beta, statistics) of every batch norm within `model`, nested ones included."""
    return unique([variable for layer in batch_norms(model) for variable in layer.variables])


def decayed_variables(model) -> list[tf.Variable]:
    """The trainable variables that weight decay applies to: all but batch norm's, biases included."""
    spared = {id(variable) for variable in batch_norm_variables(model)}
    return [variable for variable in model.trainable_variables if id(variable) not in spared]


def light_nl_gammas(model) -> list[tf.Variable]:
    """The scales of the batch norms behind LightNL's product, by which it is added to its input; no frozen ones."""
    return [layer.gamma for layer in batch_norms(model) if layer.name.endswith(LIGHT_NL_BN) and layer.trainable]


def averaged_variables(model) -> list[tf.Variable]:
    """What the official training averages: the trainable variables, then batch norm's moving statistics."""
    statistics = [variable for variable in batch_norm_variables(model) if not variable.trainable]
    return unique([*model.trainable_variables, *statistics])


def forward_state(model) -> list[tf.Variable]:
    """What a forward pass in training writes: the floating variables that every replica keeps for itself, which are
    batch norm's moving statistics and the distances that a supernet measures."""
    own = tf.VariableSynchronization.ON_READ
    return [v for v in model.non_trainable_variables if v.synchronization == own and v.dtype.is_floating]


def unique(things) -> list:
    """`things` without repeats, in order."""
    return list({id(thing): thing for thing in things}.values())
