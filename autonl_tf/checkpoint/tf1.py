"""Checkpoints of the official release: TensorFlow 1's name-based files, every stored variable accounted for.

Such a checkpoint maps names to values: each variable's own, its moving average's (`AVERAGE_SUFFIX` behind the name),
its RMSProp slots' (`SLOT_SUFFIXES`), and `global_step`. The published archives hold `bestmodel.ckpt.*` and `arch.txt`,
and nothing that names classes or sizes. Source: what `tf.train.Saver`, `ExponentialMovingAverage` and
`RMSPropOptimizer` of TensorFlow 1.14 write.
"""

from __future__ import annotations

import collections
import pathlib
import re
from collections.abc import Mapping

import tensorflow as tf

from autonl_tf.arch import presets
from autonl_tf.arch.spec import BlockSpec, NetworkSpec, difference, first_difference
from autonl_tf.checkpoint.blocks import blocks_in, is_part, without
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded, Tell, silent
from autonl_tf.checkpoint.matching import listing, of_reader, shape_of
from autonl_tf.data.labels import numbered
from autonl_tf.errors import UserError

AVERAGE_SUFFIX = "/ExponentialMovingAverage"
SLOT_SUFFIXES = ("/RMSProp", "/RMSProp_1")
STEP = "global_step"
SCOPE = "single-path"  # every official variable of a network is below it
ARCH_FILE = "arch.txt"
_CONVOLUTIONS = f"{SCOPE}/mnas_net_model"
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_LIGHT_NL = re.compile(rf"{SCOPE}/mnas_blocks_(\d+)/nl/")


def open_tf1(
    prefix: str,
    arch: NetworkSpec | None,
    *,
    depth_multiplier: float = 1.0,
    num_classes: int | None = None,
    use_averages: bool = True,
    tell: Tell = silent,
) -> Checkpoint:
    """The checkpoint at `prefix`: classes counted in the dense layer, the release's 224 px and crops.

    Args:
      prefix: of a readable checkpoint (`ours.first_readable`).
      arch: the architecture where no `arch.txt` beside the checkpoint says it.
      num_classes: for a checkpoint without a dense layer, which loading then tells.
      use_averages: which set's dense layer counts the classes.

    Raises:
      UserError: a checkpoint of another program; the architecture is not known, or is another than `arch.txt`'s.
    """
    names = sorted(shapes_of(prefix))
    if not any(name.startswith(f"{SCOPE}/") for name in names):
        held = f"{len(names)} variables such as {listing(names[:3])}" if names else "no variables"
        raise UserError(f"{prefix}: neither a checkpoint of this program nor of the official release: it holds {held}")
    spec = _architecture(pathlib.Path(prefix), arch, tell)
    ours = dict(official_names(spec))

    classes = _classes(prefix, ours["logits/bias"], use_averages) or num_classes or presets.DEFAULT_CLASSES
    return Checkpoint(
        format="tf1",
        where=prefix,
        spec=spec,
        class_names=numbered(classes),
        image_size=presets.DEFAULT_IMAGE_SIZE,
        depth_multiplier=depth_multiplier,
        choose=lambda model, variables, use_averages: choose_named(prefix, variables, ours, use_averages),
    )


def holds_plain_variables(prefix: str, spec: NetworkSpec) -> bool:
    """Whether every plain variable is stored, beside the averages."""
    stored = shapes_of(prefix)
    return all(name in stored for _, name in official_names(spec))


def shapes_of(prefix: str) -> dict[str, list[int]]:
    return tf.train.load_checkpoint(prefix).get_variable_to_shape_map()


def choose_named(
    prefix: str, variables: Mapping[str, tf.Variable], names: Mapping[str, str], use_averages: bool
) -> Chosen:
    """The averages, or the plain variables, of a name-based checkpoint under our names.

    Only these may be stored: the two sets, the trainable variables' slots (in part or whole) and the step, each
    with the shape of its variable and float32.

    Args:
      names: our variables' names -> the checkpoint's.

    Returns:
      The checkpoint's step is None where it stores none.

    Raises:
      UserError: the set is not there; a step below 0.
    """
    reader = tf.train.load_checkpoint(prefix)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    suffix = AVERAGE_SUFFIX if use_averages else ""
    known = set(names.values())
    counts = collections.Counter(kind for base, kind in map(_base, shapes) if base in known)
    plain, averages = counts[""], counts[AVERAGE_SUFFIX]
    if not counts[suffix] and (plain or averages):
        held, other = ("moving averages", "false") if use_averages else ("plain variables", "true")
        raise UserError(f"{prefix}: holds no {held} of this network; try --use_averages={other}")
    others = f"{plain} plain variables" if use_averages else f"{averages} moving averages"
    expected = {official: variables.get(ours) for ours, official in names.items()}
    unexpected, mismatched = _rest(shapes, dtypes, expected, suffix)
    step = int(reader.get_tensor(STEP)) if STEP in shapes and not shapes[STEP] else None
    if step is not None and step < 0:
        raise UserError(f"{prefix}: its {STEP} is {step}")
    stored = of_reader(
        prefix,
        reader,
        {ours: name + suffix for ours, name in names.items() if name + suffix in shapes},
        unexpected=unexpected,
        mismatched=mismatched,
        label=lambda ours: names.get(ours, ours) + suffix,
    )
    slots = sum(counts[kind] for kind in SLOT_SUFFIXES)
    return Chosen(stored, Loaded(prefix, step, use_averages), f"{others}, {slots} optimizer slots")


def _base(key: str) -> tuple[str, str]:
    """(variable, suffix) of a stored name; the suffix of a plain variable is empty."""
    for suffix in (AVERAGE_SUFFIX, *SLOT_SUFFIXES):
        if key.endswith(suffix):
            return key[: -len(suffix)], suffix
    return key, ""


def _rest(
    shapes, dtypes, expected: Mapping[str, tf.Variable | None], suffix: str
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """What is stored and should not be; and what is at odds: shapes outside the chosen set, types everywhere.

    `expected` has None for variables that are not to be loaded.
    """
    unexpected, mismatched = {}, []
    for key, shape in shapes.items():
        base, kind = _base(key)
        variable = expected.get(base)
        if key == STEP:
            if shape or not dtypes[key].is_integer:
                mismatched.append(f"{key} (checkpoint {dtypes[key].name} {tuple(shape)}, expected one integer)")
        elif base not in expected or (variable is not None and kind in SLOT_SUFFIXES and not variable.trainable):
            unexpected[key] = tuple(shape)
        elif variable is not None and tuple(shape) != shape_of(variable):
            if kind != suffix:  # the chosen set's are listed where they are loaded
                mismatched.append(f"{key} (checkpoint {tuple(shape)}, network {shape_of(variable)})")
        elif dtypes[key] != tf.float32:
            mismatched.append(f"{key} (checkpoint {dtypes[key].name}, network float32)")
    return unexpected, mismatched


def _architecture(prefix: pathlib.Path, given: NetworkSpec | None, tell: Tell) -> NetworkSpec:
    beside = prefix.parent / ARCH_FILE
    if given is None:
        if not beside.is_file():
            raise UserError(
                f"{prefix}: an official checkpoint does not hold its architecture, and no {ARCH_FILE} is beside it; "
                f"give --arch ({', '.join(presets.names())}, or the path of an architecture file)"
            )
        tell(f"architecture: {beside}")
        return presets.load(str(beside))
    if beside.is_file():
        try:
            published = presets.load(str(beside))
        except UserError as error:
            tell(f"note: not compared with --arch={given.source}: {error}")
        else:
            # Strides, shortcuts and LightNL's ratio leave no mark on the weights' shapes.
            if is_part(published, given):
                return published
            found = f"is {difference(given, published)} than {beside}: {first_difference(given, published)}"
            raise UserError(f"--arch={given.source}: {found}; leave --arch out to use that")
    found = {int(match[1]) for name in shapes_of(str(prefix)) if (match := _LIGHT_NL.match(name))}
    return without(given, {(index, kind) for index, kind in blocks_in(given) if kind != "nl" or index not in found})


def _classes(prefix: str, bias: str, use_averages: bool) -> int | None:
    """As many as the dense layer has biases; None where it is missing."""
    shapes = shapes_of(prefix)
    chosen = AVERAGE_SUFFIX if use_averages else ""
    for name in (bias + chosen, bias, bias + AVERAGE_SUFFIX):
        if name in shapes and len(shapes[name]) == 1:
            return shapes[name][0]
    return None


def official_names(spec: NetworkSpec) -> list[tuple[str, str]]:
    """(our variable, official variable), such as ("block0_depthwise/depthwise_kernel",
    "single-path/mnas_net_model/mnas_blocks_0/depthwise_conv2d/depthwise_kernel"), in the order of our layers.

    Ours are named as `network.build_network` names its layers. The rule: ordinary and depthwise convolutions are
    counted each over the whole network, blocks first, then stem, then head, in the order in which the release creates
    them (expand per group, depthwise per group, squeeze-excite reduce and expand, project per group, LightNL); batch
    norms are counted in each scope; the first of a kind carries no number. Source: the AutoNL release's checkpoints.

    Raises:
      UserError: the architecture is of another family (it has a header, or conventional non-local blocks).
    """
    if spec.has_header or any(block.embedded for block in spec.blocks):
        raise UserError(
            f"{spec.source}: official checkpoints hold networks of the AutoNL family, without a header line"
        )
    counter = _Counter()
    blocks = [
        pair
        for index, block in enumerate(spec.singles())
        for pair in _block(counter, block, f"block{index}", f"mnas_blocks_{index}")
    ]
    stem = [*counter.convolution("stem_conv", "mnas_stem"), *counter.batch_norm("stem_bn", "mnas_stem")]
    head = [*counter.convolution("head_conv", "mnas_head"), *counter.batch_norm("head_bn", "mnas_head")]
    dense = [(f"logits/{leaf}", f"{_CONVOLUTIONS}/mnas_head/dense/{leaf}") for leaf in ("kernel", "bias")]
    return [*stem, *blocks, *head, *dense]


class _Counter:
    """Numbers layers as TensorFlow 1 did: conv2d, conv2d_1, ..."""

    def __init__(self):
        self._made = collections.Counter()

    def convolution(self, ours: str, scope: str, *more: str) -> list[tuple[str, str]]:
        return self._next("conv2d", f"{_CONVOLUTIONS}/{scope}/conv2d", ours, ("kernel", *more))

    def depthwise(self, ours: str, scope: str) -> list[tuple[str, str]]:
        official = f"{_CONVOLUTIONS}/{scope}/depthwise_conv2d"
        return self._next("depthwise_conv2d", official, ours, ("depthwise_kernel",))

    def batch_norm(self, ours: str, scope: str) -> list[tuple[str, str]]:
        official = f"{SCOPE}/{scope}/batch_normalization"
        return self._next(official, official, ours, _BATCH_NORM)

    def _next(self, counted: str, official: str, ours: str, leaves: tuple[str, ...]) -> list[tuple[str, str]]:
        number = self._made[counted]
        self._made[counted] += 1
        official += f"_{number}" if number else ""
        return [(f"{ours}/{leaf}", f"{official}/{leaf}") for leaf in leaves]


def _groups(name: str, kernels: tuple[int, ...]) -> list[str]:
    return [name] if len(kernels) == 1 else [f"{name}_group{number}" for number in range(len(kernels))]


def _block(counter: _Counter, block: BlockSpec, ours: str, scope: str) -> list[tuple[str, str]]:
    pairs = []
    if block.expansion != 1:
        for name in _groups(f"{ours}_expand_conv", block.expand_kernels):
            pairs += counter.convolution(name, scope)
        pairs += counter.batch_norm(f"{ours}_expand_bn", scope)
    for name in _groups(f"{ours}_depthwise", block.kernels):
        pairs += counter.depthwise(name, scope)
    pairs += counter.batch_norm(f"{ours}_depthwise_bn", scope)
    if block.se_ratio is not None:
        pairs += counter.convolution(f"{ours}_se_reduce", f"{scope}/se", "bias")
        pairs += counter.convolution(f"{ours}_se_expand", f"{scope}/se", "bias")
    for name in _groups(f"{ours}_project_conv", block.project_kernels):
        pairs += counter.convolution(name, scope)
    pairs += counter.batch_norm(f"{ours}_project_bn", scope)
    if block.nonlocal_ is not None:
        pairs += counter.depthwise(f"{ours}_nl_depthwise", f"{scope}/nl")
        pairs += counter.batch_norm(f"{ours}_nl_bn", f"{scope}/nl")
    return pairs
