"""Checkpoints of the official release: recognised, described as a `model.json` describes ours, and loaded.

The published archives hold `bestmodel.ckpt.*` and `arch.txt`, and nothing that names classes or sizes.
"""

from __future__ import annotations

import pathlib
from typing import Any

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.config import Config
from autonl_tf.data import images
from autonl_tf.data.datasets import DEFAULT_IMAGE_SIZE
from autonl_tf.data.labels import numbered
from autonl_tf.engine.name_based import AVERAGE_SUFFIX, Inventory, load_named, shapes_of
from autonl_tf.engine.weights import Loaded
from autonl_tf.errors import UserError
from autonl_tf.modes import wiring
from autonl_tf.networks.official_names import SCOPE, official_names

ARCH_FILE = "arch.txt"
_DEFAULT_CLASSES = 1000


def check(prefix: str) -> None:
    """Raises UserError, saying what is stored at `prefix`, unless variables have the release's names there."""
    names = sorted(shapes_of(prefix))
    if not any(name.startswith(f"{SCOPE}/") for name in names):
        held = f"{len(names)} variables such as {', '.join(names[:3])}" if names else "no variables"
        raise UserError(f"{prefix}: neither a checkpoint of this program nor of the official release: it holds {held}")


def describe(config: Config, prefix: str) -> dict[str, Any]:
    """What a `model.json` would say: classes counted in the dense layer, the release's 224 px and crops.

    Raises:
      UserError: the architecture is not known, or is another than that of the `arch.txt` beside the checkpoint.
    """
    spec = _architecture(config, pathlib.Path(prefix))
    return {
        "arch": blockstring.write(spec),
        "input_image_size": DEFAULT_IMAGE_SIZE,
        "crop_padding": images.CROP_PADDING,
        "depth_multiplier": config.network.depth_multiplier or 1.0,
        "class_names": list(numbered(_classes(config, prefix, spec))),
        "classes_are_numbered": True,
    }


def load(prefix: str, model, spec: NetworkSpec, use_averages: bool) -> tuple[Loaded, Inventory]:
    """The weights, and what else is there. Raises UserError as `name_based.load_named`."""
    return load_named(prefix, model, dict(official_names(spec)), use_averages)


def holds_plain_variables(prefix: str, spec: NetworkSpec) -> bool:
    """Whether every plain variable is stored, beside the averages."""
    stored = shapes_of(prefix)
    return all(name in stored for _, name in official_names(spec))


def _architecture(config: Config, prefix: pathlib.Path) -> NetworkSpec:
    given, beside = config.network.arch, prefix.parent / ARCH_FILE
    if not given:
        if not beside.is_file():
            raise UserError(
                f"{prefix}: an official checkpoint does not hold its architecture, and no {ARCH_FILE} is beside it; "
                f"give --arch ({', '.join(presets.names())}, or the path of an architecture file)"
            )
        wiring.say(f"architecture: {beside}")
        return presets.load(str(beside))
    spec = presets.load(given)
    if beside.is_file():
        try:
            published = presets.load(str(beside))
        except UserError as error:
            wiring.say(f"note: not compared with --arch={given}: {error}")
        else:
            # Strides, shortcuts and LightNL's ratio leave no mark on the weights' shapes.
            if published.canonical() != spec.canonical():
                raise UserError(f"--arch={given}: is another architecture than {beside}; leave --arch out to use that")
    return spec


def _classes(config: Config, prefix: str, spec: NetworkSpec) -> int:
    """As many as the dense layer has biases; where it is missing, which loading tells, what the flag says."""
    shapes = shapes_of(prefix)
    bias = dict(official_names(spec))["logits/bias"]
    chosen = AVERAGE_SUFFIX if config.run.use_averages else ""
    for name in (bias + chosen, bias, bias + AVERAGE_SUFFIX):
        if name in shapes and len(shapes[name]) == 1:
            return shapes[name][0]
    return config.network.num_label_classes or _DEFAULT_CLASSES
