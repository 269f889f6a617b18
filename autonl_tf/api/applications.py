"""Networks as Keras models: AutoNL-S, AutoNL-L, any architecture, and backbones of feature maps.

Conventions of keras.applications. Deviations:

1. `weights` is None, "imagenet" or a path: of a run directory (a search's too) or checkpoint of this program, of an
   official TensorFlow 1 checkpoint, of an exported directory, or of what tf_keras saves. "imagenet" takes published
   weights out of an installed package, for the networks that have some (`checkpoint/imagenet.py`); nothing is
   downloaded.
2. The input size must be known: LightNL picks the order of its product by it. Without `input_shape` it is the size that
   the network was published at, 224x224 for one from a file.
3. Normalisation is not in the model: `preprocess_input` does it, as the architecture says.
4. Channels come last always, whatever Keras is set to.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Sequence
from typing import Any

import tf_keras as keras

from autonl_tf.arch import placement, presets
from autonl_tf.arch.spec import STEM_STRIDE, NetworkSpec
from autonl_tf.checkpoint.checkpoint import Checkpoint
from autonl_tf.checkpoint.description import CLASSIFIER
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.errors import UserError
from autonl_tf.layers.arguments import NO_CHANNELS_FIRST, text
from autonl_tf.networks.network import apply_network

POOLING = (None, "avg", "max")


def AutoNLS(
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
) -> keras.Model:
    """AutoNL-S: 267M MACs at 224 px, 4.4M parameters. See `from_arch` for the arguments.

    >>> model = AutoNLS(input_shape=(64, 64, 3), classes=10)
    >>> model.output_shape
    (None, 10)
    """
    return from_arch(
        "autonl_s", include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name=name
    )


def AutoNLL(
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
) -> keras.Model:
    """AutoNL-L: 353M MACs at 224 px, 5.6M parameters. See `from_arch` for the arguments.

    >>> AutoNLL(include_top=False, input_shape=(64, 96, 3)).output_shape
    (None, 2, 3, 1280)
    """
    return from_arch(
        "autonl_l", include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name=name
    )


def from_arch(
    path: str,
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    nonlocal_blocks: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """The network of an architecture.

    Args:
      path: a name of docs/zoo.md such as `autonl_s`, an architecture file, or a search's directory.
      include_top: whether pooling, dropout and the classifier are there.
      weights: None for random ones, "imagenet", or a path, see the module. They must be of this architecture, or of it
        less non-local blocks, which then start as the identity; their classifier of `classes` classes if `include_top`.
      input_tensor: what to build the network on: a Keras tensor of normalised images, float [B, H, W, 3], such as
        `keras.Input` or a layer gives. The model then takes what that tensor is made of.
      input_shape: (H, W, 3) instead; any size that LightNL's strides allow. By default the size of the weights, without
        weights the size that the network was published at, (224, 224, 3) for one from a file.
      pooling: without the top: None for the feature map [B, H / 32, W / 32, filters of the head], "avg" or "max" for
        its mean or maximum over the map, [B, filters]. Ignored with the top.
      classes: of the classifier.
      classifier_activation: of the top, a name or function as Keras takes it; None for logits.
      nonlocal_blocks: as `--nonlocal`, e.g. "all:0.25-1"; None leaves the architecture's own.
      name: of the model; by default that of the zoo's network, else "autonl".

    Returns:
      A functional model of normalised images, float32 [B, H, W, 3].

    Raises:
      UserError: the architecture, the size or the weights cannot be used; says which and why.
      ValueError: an argument that is not accepted.

    >>> from_arch("mobilenet_v2", include_top=False, input_shape=(32, 32, 3), pooling="avg").output_shape
    (None, 1280)
    """
    if pooling not in POOLING:
        raise ValueError(f"pooling={pooling!r}: accepted: None, 'avg', 'max'")
    activation = keras.activations.get(classifier_activation) if include_top else None
    if not isinstance(classes, numbers.Integral) or isinstance(classes, bool) or classes < 1:
        raise ValueError(f"classes={classes!r}: accepted: a whole number from 1 on")
    sizes = (input_tensor, input_shape, classes)
    _, inputs, model, opened = _whole(path, weights, nonlocal_blocks, *sizes, include_top)
    if opened:
        opened.load_into(model, classifier=include_top)
    if include_top:
        x = _after(model, CLASSIFIER)
        if classifier_activation is not None:
            x = keras.layers.Activation(activation, dtype="float32", name="probabilities")(x)
    else:
        x = model.get_layer("head_pool").get_input_at(0)
        if pooling == "avg":
            x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="avg_pool")(x)
        elif pooling == "max":
            x = keras.layers.GlobalMaxPooling2D(data_format="channels_last", name="max_pool")(x)
    return _model(inputs, x, path, name)


def backbone(
    path: str = "autonl_s",
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    levels: Sequence[int] = (3, 4, 5),
    nonlocal_blocks: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Feature maps for detection and segmentation heads.

    Args:
      path, weights, input_tensor, input_shape, nonlocal_blocks, name: as for `from_arch`.
      levels: which maps: `reduction_i` is what the last block at stride 2 ** i gives.

    Returns:
      A model to a dictionary, "reduction_3": [B, H / 8, W / 8, C] and so on (sizes rounded up).

    Raises:
      UserError: as `from_arch`; a level that the network does not have.

    >>> maps = backbone("autonl_s", input_shape=(64, 96, 3)).output
    >>> {name: tuple(map.shape) for name, map in maps.items()}
    {'reduction_3': (None, 8, 12, 40), 'reduction_4': (None, 4, 6, 96), 'reduction_5': (None, 2, 3, 320)}
    """
    spec, inputs, model, opened = _whole(path, weights, nonlocal_blocks, input_tensor, input_shape, 2, False)
    ends = _reductions(spec)
    if not isinstance(levels, Iterable) or not (levels := tuple(levels)) or not set(levels) <= set(ends):
        raise UserError(f"levels={levels!r}: accepted: a list of {', '.join(map(str, ends))}, which {path} has")
    outputs = {f"reduction_{level}": _after_block(model, ends[level]) for level in levels}
    maps = _model(inputs, outputs, path, name)
    if opened:
        opened.load_into(model, classifier=False, used=maps)
    return maps


def _reductions(spec: NetworkSpec) -> dict[int, int]:
    """i -> number of the last block at stride 2 ** i, for strides that are powers of two."""
    stride, ends = STEM_STRIDE, {}
    for index, block in enumerate(spec.singles()):
        stride *= block.stride
        if stride & (stride - 1) == 0:
            ends[stride.bit_length() - 1] = index
    return ends


def _whole(
    path: str,
    weights: str | None,
    nonlocal_blocks: str | None,
    input_tensor: Any,
    input_shape: tuple[int, int, int] | None,
    classes: int,
    with_classifier: bool,
) -> tuple[NetworkSpec, Any, keras.Model, Checkpoint | None]:
    """The architecture, what its network is built on, the network with its top, and the weights to load, of as many
    classes if `with_classifier`."""
    path = text("path", path, "a name of docs/zoo.md, an architecture file or a search's directory")
    if weights is not None:
        weights = text("weights", weights, "None, 'imagenet' or a path")
    if nonlocal_blocks is not None:
        nonlocal_blocks = text("nonlocal_blocks", nonlocal_blocks, f"None, {placement.ACCEPTED}")
    spec = presets.load(path, nonlocal_blocks)
    inputs = _given(input_tensor, input_shape)
    opened = open_checkpoint(weights, spec) if weights is not None else None
    if opened and with_classifier and len(opened.class_names) != classes:
        count = len(opened.class_names)
        if not count:
            raise UserError(f"weights={weights!r}: has no classifier; give include_top=False and one of your own")
        raise UserError(
            f"weights={weights!r}: has {count} classes; give classes={count}, or include_top=False and a classifier of "
            "your own"
        )
    if inputs is None:
        side = opened.image_size if opened else presets.image_size(path)
        shape = (opened and opened.image_shape) or (side, side)
        inputs = keras.Input([*shape, 3], name="image", dtype="float32")
    multiplier = opened.depth_multiplier if opened else 1.0
    logits = apply_network(inputs, spec, num_classes=classes, depth_multiplier=multiplier)
    return spec, inputs, keras.Model(inputs, logits), opened


def _given(input_tensor: Any, input_shape: tuple[int, int, int] | None) -> Any:
    """The Keras tensor that the caller wants the network on; None where it is left to the network.

    Raises:
      ValueError: none for images of a known size.
    """
    if input_tensor is None:
        if input_shape is None:
            return None
        return keras.Input(_checked(input_shape, f"input_shape={input_shape}"), name="image", dtype="float32")
    if not _is_keras_tensor(input_tensor):
        raise ValueError(f"input_tensor is {type(input_tensor).__name__}; accepted: what keras.Input or a layer gives")
    shape = _checked(tuple(input_tensor.shape)[1:], f"input_tensor of shape {tuple(input_tensor.shape)}")
    if input_shape is not None and tuple(input_shape) != shape:
        raise ValueError(f"input_shape={input_shape}, but input_tensor's is {shape}; one of them is enough")
    if not input_tensor.dtype.is_floating:
        raise ValueError(f"input_tensor is {input_tensor.dtype.name}; accepted: normalised images, which are floating")
    return input_tensor


def _is_keras_tensor(value: Any) -> bool:
    try:
        return keras.backend.is_keras_tensor(value)
    except ValueError:  # no symbolic tensor at all
        return False


def _checked(shape: Sequence[int | None], what: str) -> tuple[int, int, int]:
    """Height, width and channels. Raises ValueError."""
    shape = tuple(shape) if isinstance(shape, Iterable) else ()
    if len(shape) == 3 and shape[0] == 3 and shape[2] != 3:
        raise ValueError(f"{what}: channels come last here: (height, width, 3); {NO_CHANNELS_FIRST}")
    if len(shape) == 3 and shape[2] == 3 and None in shape:
        raise ValueError(
            f"{what}: height and width must be known, for LightNL scales its product, and picks its order, by them; "
            "accepted: (height, width, 3) in pixels"
        )
    sides = [side for side in shape if isinstance(side, numbers.Integral) and not isinstance(side, bool) and side > 0]
    if len(shape) != 3 or shape[2] != 3 or len(sides) != 3:
        raise ValueError(f"{what}: accepted: (height, width, 3) in pixels")
    return tuple(map(int, shape))


def _model(inputs: Any, outputs: Any, path: str | os.PathLike, name: str | None) -> keras.Model:
    sources = keras.utils.get_source_inputs(inputs)
    default = os.fspath(path) if os.fspath(path) in presets.names() else "autonl"
    return keras.Model(sources[0] if len(sources) == 1 else sources, outputs, name=name or default)


def _after(model: keras.Model, layer: str):
    """What a layer gives where the network was built: node 0. Keras adds others where that is on a layer's output."""
    return model.get_layer(layer).get_output_at(0)


def _after_block(model: keras.Model, index: int):
    """What a block gives: what the next block, or the head, takes."""
    prefix = f"block{index}_"
    return _after(model, [layer.name for layer in model.layers if layer.name.startswith(prefix)][-1])
