"""Variables of a checkpoint by the names they had, from the object graph that TensorFlow stores with them.

TensorFlow 2 stores a variable under its path from the object that was saved, and beside it, in the graph of those
objects, the variable's own name. Source: TensorFlow's `trackable_object_graph.proto`.
"""

from __future__ import annotations

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from autonl_tf.checkpoint.matching import Stored
from autonl_tf.engine.checkpoints import fault_of
from autonl_tf.errors import UserError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def read_graph(prefix: str, where: str) -> Stored:
    """Every variable that a network's own objects hold, by the variable's name; nothing but the files is read.

    Args:
      prefix: of the checkpoint's files, such as `SAVED_MODEL/variables/variables`.
      where: for messages.

    Raises:
      UserError: it cannot be read, or has no object graph.
    """
    if fault := fault_of(prefix):
        raise UserError(f"{where}: its variables cannot be read: {fault}")
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    if _GRAPH not in shapes:
        raise UserError(f"{where}: its variables have no names")
    graph = TrackableObjectGraph()
    try:
        graph.ParseFromString(reader.get_tensor(_GRAPH))
    except DecodeError as error:
        raise UserError(f"{where}: its object graph cannot be read: {error}") from None
    keys: dict[str, str] = {}
    for node in graph.nodes:
        for attribute in node.attributes:
            if attribute.checkpoint_key in shapes:
                keys[attribute.full_name] = attribute.checkpoint_key
    return Stored(
        where,
        {name: tuple(shapes[key]) for name, key in keys.items()},
        read=lambda name: reader.get_tensor(keys[name]),
    )
