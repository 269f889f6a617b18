"""Weights of exported directories: read from the variables file, never by loading the SavedModel, which could run."""

import json

import numpy as np
import pytest
import tensorflow as tf
from damage import NO_JSON, check_documented, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autonl_tf.arch import blockstring
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.errors import UserError
from autonl_tf.export.directory import check_export_dir
from autonl_tf.networks.network import build_network
from autonl_tf.records import CARD_FORMAT

ARCH = "r1_k3_s22_e1_i32_o8_noskip\nr1_k3_s22_e2_i8_o12_nonlocal0.25-2\n"
CARD = {
    "format": CARD_FORMAT,
    "files": {},
    "architecture": {"blocks": ARCH.splitlines(), "depth_multiplier": 1.0},
    "input": {"image_size": 32, "crop_padding": 4},
    "num_classes": 3,
    "labels": "labels.txt",
    "weights": {"prefix": "run/best/ckpt-7", "step": 7, "averages": True},
    "data": {"trained_on": "folder:pictures"},
}


def network():
    return build_network(blockstring.parse(ARCH), image_size=32, num_classes=3)


class Trap(tf.saved_model.experimental.TrackableResource):
    """Writes a file when the SavedModel that holds it is loaded."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def _create_resource(self):
        return tf.raw_ops.MutexV2(shared_name="trap")

    def _initialize(self):
        tf.io.write_file(self.path, "it ran")


def written(directory, model, *, trap=None, card=CARD):
    archive = tf.Module()
    archive.weights = list(model.variables)
    if trap:
        archive.trap = Trap(str(trap))
    tf.saved_model.save(archive, str(directory / "saved_model" / "1"))
    (directory / "card.json").write_text(json.dumps(card))
    (directory / "labels.txt").write_text("ant\nbee\ncat\n")
    return str(directory)


def test_nothing_in_it_runs(tmp_path):
    model, other, trap = network(), network(), tmp_path / "trap"
    path = written(tmp_path / "export", model, trap=trap)
    found = open_checkpoint(path, blockstring.parse(ARCH))
    assert found.load_into(other) == (path, 7, True)
    for mine, theirs in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs, mine.name)
    described = (found.class_names, found.image_size, found.crop_padding, found.trained_on)
    assert described == (("ant", "bee", "cat"), 32, 4, "folder:pictures")
    assert not trap.exists()
    tf.saved_model.load(f"{path}/saved_model/1")
    assert trap.exists()  # loading it would have run it


def test_any_field_of_a_card_may_be_changed_to_anything(tmp_path):
    model = network()
    path = written(tmp_path / "export", model)

    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given(damaged(CARD).map(lambda value: json.dumps(value).encode()) | st.sampled_from(NO_JSON))
    def check(content):
        (tmp_path / "export" / "card.json").write_bytes(content)
        check_documented(lambda: check_export_dir(path))
        check_documented(lambda: open_checkpoint(path, blockstring.parse(ARCH)).load_into(model))

    check()


def test_what_does_not_fit_or_cannot_be_read_is_refused_in_a_line(tmp_path):
    path = written(tmp_path / "export", network())
    with pytest.raises(UserError, match="holds one set of weights; --use_averages=false does not go with it"):
        open_checkpoint(path).load_into(network(), use_averages=False)
    wide = build_network(blockstring.parse(ARCH.replace("o12", "o16")), image_size=32, num_classes=3)
    with pytest.raises(UserError, match=r"export: does not fit the network: \d+ mismatched: block1_nl_bn/beta "):
        open_checkpoint(path).load_into(wide)
    with pytest.raises(UserError, match="export: holds another architecture than"):
        open_checkpoint(path, blockstring.parse(ARCH.replace("o12", "o16")))
    (tmp_path / "export" / "labels.txt").write_text("ant\n")
    with pytest.raises(UserError, match=r"its labels\.txt has 1 names for 3 classes"):
        open_checkpoint(path)
    (tmp_path / "export" / "labels.txt").write_text("ant\nbee\ncat\n")
    data = tmp_path / "export" / "saved_model" / "1" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1000])
    with pytest.raises(UserError, match="export: its variables cannot be read: "):
        open_checkpoint(path).load_into(network())
