"""`open_checkpoint`: a path to a `Checkpoint`, whatever its format."""

from __future__ import annotations

import pathlib

from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint import export, imagenet, keras_files, ours, search, tf1
from autonl_tf.checkpoint.checkpoint import Checkpoint, Tell, silent
from autonl_tf.checkpoint.description import is_search
from autonl_tf.checkpoint.location import location_of
from autonl_tf.checkpoint.object_graph import has_graph


def open_checkpoint(
    path: str,
    arch: NetworkSpec | None = None,
    *,
    assumed: NetworkSpec | None = None,
    depth_multiplier: float | None = None,
    num_classes: int | None = None,
    use_averages: bool = True,
    tell: Tell = silent,
) -> Checkpoint:
    """The weights at `path`; nothing is loaded yet.

    Args:
      path: a run directory, of a training or a search; a checkpoint's prefix; an official TensorFlow 1 checkpoint; an
        exported directory; what tf_keras saves (see `keras_files`); or `imagenet`, the published weights of `arch`.
      arch: the architecture that is wanted; the checkpoint must be of it, or of it less non-local blocks. None: the
        checkpoint's own.
      assumed: without `arch`, the architecture of a format that does not say its own.
      depth_multiplier, num_classes: likewise wanted, for a format that does not say its own.

    Raises:
      UserError: none of these, or of another architecture; a format that does not say its architecture, without `arch`
        and `assumed`.
    """
    location, wanted, multiplier = location_of(path), arch or assumed, depth_multiplier or 1.0
    prefix = str(ours.first_readable(location.prefixes)) if location.kind == "prefixes" else ""
    if location.kind == "imagenet":
        found = imagenet.open_imagenet(wanted)
    elif location.kind == "export":
        found = export.open_export(location.path)
    elif prefix and ours.is_ours(prefix):
        found = search.open_search(prefix) if is_search(prefix) else ours.open_ours(prefix)
    elif location.kind == "keras" or has_graph(prefix):
        found = keras_files.open_keras(pathlib.Path(prefix or location.path), wanted, depth_multiplier=multiplier)
    else:
        sizes = {"depth_multiplier": multiplier, "num_classes": num_classes}
        found = tf1.open_tf1(prefix, wanted, **sizes, use_averages=use_averages, tell=tell)
    if arch is not None:
        found.check(arch)
    return found
