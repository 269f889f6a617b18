"""Targets of `fuzz_readers.py`: checkpoints, of this program, the release and PyTorch, and a SavedModel's images."""

from __future__ import annotations

import contextlib
import io
import pathlib
import shutil
import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import flags
from hypothesis import strategies as st
from support.fuzzing import Target, mutated, refusal

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import Normalization
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.checkpoint.ours import write_model_json
from autonl_tf.checkpoint.pytorch import pytorch_names, symmetric
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX, official_names
from autonl_tf.cli import parsing
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.batch_norm import averaged_variables
from autonl_tf.engine.checkpoints import Checkpoints
from autonl_tf.engine.learner import Learner
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.errors import UserError
from autonl_tf.export.saved_model import export_saved_model
from autonl_tf.networks.network import build_network
from autonl_tf.prepare import checkpointed
from autonl_tf.records import ModelRecord
from autonl_tf.settings.config import Config

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests"))
import torch_files
from official_checkpoints import write_checkpoint

ARCH = "r1_k3_s22_e1_i32_o8_nonlocal0.25-1\n"
SIZE, CLASSES = 32, 3


def _spoilt(whole: pathlib.Path) -> st.SearchStrategy:
    """Up to three of a directory's files and what stands in their place; None: nothing."""
    contents = {str(path.relative_to(whole)): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    one = st.sampled_from(sorted(contents)).flatmap(
        lambda name: st.tuples(st.just(name), st.none() | mutated(contents[name]) | st.binary(max_size=200))
    )
    return st.lists(one, min_size=1, max_size=3)


def _directory(whole: pathlib.Path, broken: pathlib.Path, model: keras.Model, load: Callable[[], None]) -> Target:
    """`load` reads `broken`, a spoilt copy of `whole`, into `model`: the same weights as before, or a refusal."""
    weights = [variable.numpy() for variable in model.variables]

    def check(example) -> bool:
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(whole, broken)
        for name, content in example:
            if content is None:
                (broken / name).unlink(missing_ok=True)
            else:
                (broken / name).write_bytes(content)
        for variable in model.variables:
            variable.assign(tf.zeros_like(variable))
        try:
            load()
        except UserError as error:
            return refusal(error)
        for variable, expected in zip(model.variables, weights, strict=True):
            assert np.array_equal(variable.numpy(), expected), f"{variable.name} was loaded with other values"
        return True

    return Target(_spoilt(whole), check)


def checkpoint(folder: pathlib.Path) -> Target:
    """One of this program, with its model.json and best.json."""
    whole, broken = folder / "whole", folder / "broken"
    image = keras.Input([4, 4, 3])
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(3, 3, name="conv")(image))
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    averages = MovingAverages(averaged_variables(model), 0.9)
    whole.mkdir()  # a run's directory is made by the run
    saver = Checkpoints(whole, Learner(model, [(TF1RMSprop(0.1), model.trainable_variables)], averages))
    saver.save(0)
    saver.save_best(0, 0.5)
    write_model_json(whole, ModelRecord(ARCH, 8, 0, 1.0, ("a", "b")))

    def load() -> None:
        assert open_checkpoint(str(broken)).load_into(model).step == 0

    return _directory(whole, broken, model, load)


def release(folder: pathlib.Path) -> Target:
    """One of the official release, with its arch.txt."""
    whole, broken, spec = folder / "whole", folder / "broken", blockstring.parse(ARCH)
    model = build_network(spec, image_size=SIZE, num_classes=CLASSES)
    names = official_names(spec)
    values = {name: variable.numpy() for (_, name), variable in zip(names, _ordered(model, names), strict=True)}
    values |= {name + AVERAGE_SUFFIX: value for name, value in values.items()}
    write_checkpoint(whole / "bestmodel.ckpt", values)
    (whole / "arch.txt").write_text(ARCH)

    def load() -> None:
        found = open_checkpoint(str(broken))
        found.check(spec)
        if len(found.class_names) != CLASSES:
            raise UserError("another number of classes")
        assert found.load_into(model).step == 7

    return _directory(whole, broken, model, load)


def _ordered(model: keras.Model, names: list[tuple[str, str]]) -> list[tf.Variable]:
    found = {variable.name.removesuffix(":0"): variable for variable in model.variables}
    return [found[ours] for ours, _ in names]


def _config(*words: str) -> Config:
    values = flags.FlagValues()
    parsing.define_flags(values)
    values(["main.py", *words])
    return parsing.from_flags(values)


def port(folder: pathlib.Path) -> Target:
    """A PyTorch file of the port: its bytes changed, or its tensors replaced by others."""
    path, arch = folder / "model.pt", folder / "arch.txt"
    arch.write_text(ARCH)
    spec = symmetric(blockstring.parse(ARCH))
    model = build_network(spec, image_size=SIZE, num_classes=CLASSES)
    state = {}
    for (ours, theirs), variable in zip(pytorch_names(spec), _ordered(model, pytorch_names(spec)), strict=True):
        value = variable.numpy()
        if value.ndim == 4:
            value = value.transpose(2, 3, 0, 1) if ours.endswith("depthwise_kernel") else value.transpose(3, 2, 0, 1)
        state[theirs] = np.ascontiguousarray(value.T if value.ndim == 2 else value)
    config = _config(
        *("--mode=convert", "--from=pytorch", f"--init_checkpoint={path}", f"--arch={arch}"),
        *(f"--input_image_size={SIZE}", f"--model_dir={folder / 'run'}"),
    )
    arrays = st.tuples(
        st.sampled_from(sorted(torch_files.KINDS)),
        st.lists(st.integers(0, 4), max_size=4),
        st.sampled_from([0.0, 1.0, -1.0, 65000.0, 1e300, float("nan"), float("inf")]),
    ).map(_array)
    replaced = st.dictionaries(st.sampled_from(sorted(state)) | st.text(max_size=9), arrays, min_size=1, max_size=3)
    kinds = st.sampled_from(sorted(torch_files.WRITERS))
    remade = st.tuples(kinds, replaced).map(lambda pair: torch_files.WRITERS[pair[0]](state | pair[1]))
    changed = st.one_of(*[mutated(write(state)) for write in torch_files.WRITERS.values()])

    def check(example) -> bool:
        path.write_bytes(example)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                ported = checkpointed.load(config)
        except UserError as error:
            return refusal(error)
        assert all(np.isfinite(variable.numpy()).all() for variable in ported.model.variables)
        return True

    return Target(changed | remade, check)


def _array(parts) -> np.ndarray:
    kind, shape, value = parts
    if kind == "int64":
        value = int(np.nan_to_num(np.clip(value, -9, 9)))
    with np.errstate(over="ignore"):
        return np.full(shape, value, kind)


def serving(folder: pathlib.Path) -> Target:
    """Bytes sent as an image: an answer, or INVALID_ARGUMENT."""
    model = build_network(blockstring.parse(ARCH), image_size=SIZE, num_classes=CLASSES)
    export_saved_model(model, folder / "model", class_names=("a", "b", "c"), normalization=Normalization())
    loaded = tf.saved_model.load(str(folder / "model"))
    classify = loaded.signatures["serving_default"]
    pixels = np.random.default_rng(0).integers(0, 256, [20, 24, 3]).astype(np.uint8)
    valid = [encode(pixels).numpy() for encode in (tf.io.encode_jpeg, tf.io.encode_png)]
    valid += [_bitmap(pixels), _GIF]
    many = st.lists(st.one_of(st.binary(max_size=200), *[mutated(image) for image in valid]), min_size=1, max_size=3)

    def check(example) -> bool:
        try:
            found = classify(image_bytes=tf.constant(example, tf.string))["probabilities"].numpy()
        except tf.errors.InvalidArgumentError as error:
            assert str(error.message).strip()
            return False
        assert found.shape == (len(example), CLASSES) and np.allclose(found.sum(-1), 1)
        return True

    return Target(many, check)


def _bitmap(pixels: np.ndarray) -> bytes:
    """A BMP of 24 bits a pixel; rows of 4n bytes."""
    height, width, _ = pixels.shape
    size = 54 + pixels.size
    numbers = [(size, 4), (0, 4), (54, 4), (40, 4), (width, 4), (height, 4), (1, 2), (24, 2), (0, 4), (pixels.size, 4)]
    header = b"BM" + b"".join(value.to_bytes(count, "little") for value, count in numbers) + bytes(16)
    return header + pixels[::-1, :, ::-1].tobytes()


# One pixel, from the format's description.
_GIF = b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
