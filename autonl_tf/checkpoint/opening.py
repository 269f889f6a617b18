"""`open_checkpoint`: a path to a `Checkpoint`, whatever its format."""

from __future__ import annotations

import pathlib

from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint import export, imagenet, keras_files, ours, search, tf1
from autonl_tf.checkpoint.checkpoint import Checkpoint, Tell, silent
from autonl_tf.checkpoint.location import Location, location_of
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
      use_averages: which set of weights will be loaded.
      tell: where to say what was found beside the weights.

    Raises:
      UserError: none of these, or of another architecture; a format that does not say its architecture, without `arch`
        and `assumed`.
    """
    found = _opened(
        location_of(path),
        arch or assumed,
        depth_multiplier=depth_multiplier or 1.0,
        num_classes=num_classes,
        use_averages=use_averages,
        tell=tell,
    )
    if arch is not None:
        found.check(arch)
    return found


def _opened(location: Location, arch: NetworkSpec | None, **wanted) -> Checkpoint:
    if location.kind == "imagenet":
        return imagenet.open_imagenet(arch)
    if location.kind == "export":
        return export.open_export(location.path)
    if location.kind == "keras":
        return keras_files.open_keras(location.path, arch, depth_multiplier=wanted["depth_multiplier"])
    prefix = str(ours.first_readable(location.prefixes))
    if ours.is_ours(prefix):
        return search.open_search(prefix) if search.is_search(prefix) else ours.open_ours(prefix)
    if has_graph(prefix):
        return keras_files.open_keras(pathlib.Path(prefix), arch, depth_multiplier=wanted["depth_multiplier"])
    return tf1.open_tf1(prefix, arch, **wanted)
