"""Variables of a checkpoint by the names they had, from the object graph that TensorFlow stores with them.

TensorFlow 2 stores a variable under its path from the object that was saved, and beside it, in the graph of those
objects, the variable's own name. Source: TensorFlow's `trackable_object_graph.proto`.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from autonl_tf.checkpoint.matching import Stored, of_reader
from autonl_tf.engine.checkpoints import fault_of
from autonl_tf.errors import UserError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def has_graph(prefix: str) -> bool:
    return _GRAPH in tf.train.load_checkpoint(prefix).get_variable_to_shape_map()


def read_graph(prefix: str, where: str, aside: Sequence[str] = ()) -> Stored:
    """Every variable of the objects that were saved, by its name; nothing but the files is read.

    Args:
      prefix: of the checkpoint's files, such as `SAVED_MODEL/variables/variables`.
      aside: objects of these names, and what is below them, are left out.

    Raises:
      UserError: it cannot be read, has no object graph, or holds two variables of one name.
    """
    if fault := fault_of(prefix):
        raise UserError(f"{where}: its variables cannot be read: {fault}")
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    graph = TrackableObjectGraph()
    try:
        graph.ParseFromString(reader.get_tensor(_GRAPH) if _GRAPH in shapes else b"")
    except DecodeError:
        raise UserError(f"{where}: its object graph is damaged") from None
    keys: dict[str, str] = {}
    for node in _reachable(graph, aside):
        for attribute in graph.nodes[node].attributes:
            name, key = attribute.full_name, attribute.checkpoint_key
            if keys.setdefault(name, key) != key:
                raise UserError(f"{where}: holds two variables named {name}")
    if not keys or not set(keys.values()) <= shapes.keys():
        raise UserError(f"{where}: its variables have no names")
    return of_reader(where, reader, keys)


def _reachable(graph: TrackableObjectGraph, aside: Sequence[str]) -> list[int]:
    """Numbers of the objects that the first one holds, itself or through others, but for those `aside`."""
    seen, left = {0}, [0]
    while left:
        node = left.pop()
        if node >= len(graph.nodes):
            return []
        for child in graph.nodes[node].children:
            if child.local_name not in aside and child.node_id not in seen:
                seen.add(child.node_id)
                left.append(child.node_id)
    return sorted(seen)
