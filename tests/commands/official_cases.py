"""What the tests of official checkpoints share: pictures, weights of AutoNL-S, the command line within the process."""

import json
import pathlib
import shutil

import numpy as np
from golden_data import TESTDATA, TINY, VALUES
from mode_cases import run
from numpy_forward import Forward, Weights
from official_checkpoints import statistics_of, with_the_rest, write_checkpoint

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import Normalization
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX
from autonl_tf.data import images

PHOTOGRAPHS = sorted((TESTDATA / "preprocess").glob("*.jpg"))


def said_by(capsys, *words):
    """What a mode prints with `--json`, and what it says beside."""
    run(*words, "--json")
    said = capsys.readouterr()
    return [json.loads(line) for line in said.out.splitlines()], said.err


def normalized(paths, size):
    """The photographs as the network takes them."""
    pixels = [images.preprocess_for_eval(pathlib.Path(path).read_bytes(), size) for path in paths]
    return np.stack([images.normalize(one, Normalization()).numpy() for one in pixels])


def lines_of(name):
    return (TINY if name == "tiny" else blockstring.write(presets.load(name))).split()


def golden_weights(name):
    """The moving averages with which the release's golden numbers were made: `tiny` or `autonl_s`."""
    statistics = statistics_of(TESTDATA / "forward" / f"{name}_moving_statistics.npz")
    return Weights(VALUES.value, AVERAGE_SUFFIX, statistics)


def write_fitted(prefix, name, size=224, classes=1000):
    """An official checkpoint at `prefix`, batch norm's statistics those of the photographs.

    Returns the logits of the photographs by the NumPy forward pass.
    """
    weights = Weights(VALUES.value, AVERAGE_SUFFIX)
    passed = Forward(lines_of(name), normalized(PHOTOGRAPHS, size), classes, weights)
    write_checkpoint(prefix, with_the_rest(weights.values), step=312)
    return passed.logits


def folder_of(photographs, root, classes):
    """Each photograph as the one picture of its class; returns the flags that name the folder and all `classes`."""
    for split in ("train", "val"):
        for path, name in zip(photographs, classes, strict=False):
            folder = root / "photographs" / split / name
            folder.mkdir(parents=True)
            shutil.copy(path, folder)
    (root / "labels.txt").write_text("".join(f"{name} words\n" for name in classes))
    return [f"--dataset=folder:{root}/photographs", f"--label_file={root}/labels.txt"]
