"""docs/android.md says of the files what they are: every name, type and shape in it, against an export of that size."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from export_cases import lively

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import Normalization
from autonl_tf.data import images
from autonl_tf.data.labels import LABELS
from autonl_tf.export import bundle, int8, rewrite, tflite
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import quantized_network

GUIDE = (pathlib.Path(__file__).parents[2] / "docs" / "android.md").read_text(encoding="utf-8")
CONSTANTS = {
    name: int(value) if value.isdigit() else value.strip('"')
    for name, value in re.findall(r"const val (\w+) = (\S+)", GUIDE)
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every file of a small network with the guide's size and classes."""
    spec = blockstring.parse("r1_k3_s22_e1_i32_o16_noskip\nr1_k3_s44_e1_i16_o16_nonlocal0.25-2_se0.5\n")
    model = lively(build_network(spec, image_size=CONSTANTS["SIZE"], num_classes=CONSTANTS["CLASSES"]))
    folder = tmp_path_factory.mktemp("android")
    paths, size = {name: folder / file for name, file in bundle.TFLITE.items()}, CONSTANTS["SIZE"]
    tflite.convert_fp32(model, paths["tflite_fp32"], normalization=Normalization())
    tflite.convert_fp16(model, paths["tflite_fp16"], normalization=Normalization())
    pixels = np.random.default_rng(0).uniform(0, 255, [2, size, size, 3]).astype(np.float32)
    int8.quantize_int8(paths["tflite_fp32"], paths["tflite_int8"], pixels)
    quantized = quantized_network(model)
    quantized(images.normalize(pixels, Normalization()), training=True)  # or it has no ranges
    int8.convert_trained(quantized, paths["tflite_qat"], normalization=Normalization())
    for name in ("tflite_int8", "tflite_qat"):
        rewrite.take_uint8(paths[name])
    return {path.name: Interpreter(model_path=str(path)) for path in paths.values()}


def rows() -> dict[str, list[str]]:
    """The guide's table: first column -> the other two."""
    lines = [line for line in GUIDE.splitlines() if line.startswith("| ") and line.count("|") == 4]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


def test_the_files_named_are_those_an_export_writes():
    assert CONSTANTS["MODEL"] == bundle.TFLITE["tflite_int8"] and CONSTANTS["LABELS"] == LABELS
    header = rows()[""]
    named = [name for cell in header for name in re.findall(r"`([\w.]+)`", cell)]
    assert sorted(named) == sorted(bundle.TFLITE.values())
    for word in re.findall(r"runs/export/([\w.]+)", GUIDE):
        assert word in (CONSTANTS["MODEL"], CONSTANTS["LABELS"])


def test_the_table_is_true_of_the_files(files):
    table = rows()
    columns = [(column, name) for column, cell in enumerate(table[""]) for name in re.findall(r"`([\w.]+)`", cell)]
    assert len(columns) == len(files)
    for column, name in columns:
        interpreter = files[name]
        signature = table["signature"][column].strip("`")
        (key,) = [first for first in table if first.startswith("input")]
        (out,) = [first for first in table if first.startswith("output")]
        names = {"inputs": [key.split("`")[1]], "outputs": [out.split("`")[1]]}
        assert interpreter.get_signature_list() == {signature: names}
        for details, cell in (
            (interpreter.get_input_details()[0], table[key][column]),
            (interpreter.get_output_details()[0], table[out][column]),
        ):
            kind, shape = re.match(r"(\w+) `\[(.*?)\]`", cell).groups()
            assert details["dtype"].__name__ == kind
            assert details["shape"].tolist() == [int(side) for side in shape.split(",")]


def test_the_codes_constants_are_true_of_the_file(files):
    interpreter = files[CONSTANTS["MODEL"]]
    (entry,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    size, channels = CONSTANTS["SIZE"], CONSTANTS["CHANNELS"]
    assert entry["shape"].tolist() == [1, size, size, channels] and entry["dtype"] == np.uint8
    assert entry["quantization"] == (1.0, 0), "plain bytes"
    assert out["shape"].tolist() == [1, CONSTANTS["CLASSES"]] and out["dtype"] == np.float32
    assert CONSTANTS["CROP_PADDING"] == images.CROP_PADDING


@pytest.mark.parametrize("side", [33, 224, 256, 500, 1023, 4000])
def test_the_codes_crop_is_the_evaluations(side):
    size, padding = CONSTANTS["SIZE"], CONSTANTS["CROP_PADDING"]
    assert "side * SIZE / (SIZE + CROP_PADDING)" in GUIDE and "(picture.width - crop + 1) / 2" in GUIDE
    top, left, height, width = images._centre_crop(size, padding)(side, side + 7).numpy().tolist()
    crop = max(1, side * size // (size + padding))
    assert (height, width) == (crop, crop)
    assert (top, left) == ((side - crop + 1) // 2, (side + 7 - crop + 1) // 2)
