"""What is in an int8 file, read from its bytes, and the reader itself."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from export_cases import EVERYTHING, SIZE, lively, pictures

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import Normalization
from autonl_tf.data.images import normalize
from autonl_tf.errors import UserError
from autonl_tf.export import int8, quantization, tflite
from autonl_tf.export.accuracy_loss import TFLiteRunner
from autonl_tf.export.graph_facts import graph_facts
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import calibrate, quantized_network

# A block of each kind that AutoNL-S has, and over 256 KB of constants, as which ai-edge-quantizer calls a file large.
AUTONL = """\
r1_k3_s11_e1_i32_o16
r1_k3_s22_e3_i16_o40_nonlocal0.25-1
r1_k5_s11_e3_i40_o40_nonlocal0.25-2
r1_k5_s22_e6_i40_o96_nonlocal0.25-1_se0.25
r1_k3_s11_e6_i96_o128_se0.5
"""
NETWORKS = {"autonl": AUTONL, "relu6": "network activation=relu6\n" + EVERYTHING}
DEAD = 3  # a channel of block 0's depthwise convolution


@pytest.fixture(scope="module", params=NETWORKS)
def files(request, tmp_path_factory):
    """The float file and the int8 files of a network with a channel of zeros, as real ones have.

    AutoNL's are as at first, LightNL adding nothing.
    """
    keras.utils.set_random_seed(0)
    model = build_network(blockstring.parse(NETWORKS[request.param]), image_size=SIZE, num_classes=7)
    if request.param == "relu6":
        lively(model)
    (kernel,), norm = model.get_layer("block0_depthwise").weights, model.get_layer("block0_depthwise_bn")
    kernel.assign(kernel * (np.arange(kernel.shape[2]) != DEAD)[:, np.newaxis])
    for variable, value in ((norm.beta, 1.5), (norm.moving_mean, 0.0)):
        variable.assign(np.where(np.arange(variable.shape[0]) == DEAD, value, variable.numpy()))
    folder = tmp_path_factory.mktemp(request.param)
    paths = {name: folder / f"{name}.tflite" for name in ("float32", "int8", "qat")}
    tflite.convert_fp32(model, paths["float32"], normalization=Normalization())
    int8.quantize_int8(paths["float32"], paths["int8"], pictures(8))
    quantized = quantized_network(model)
    calibrate(quantized, normalize(pictures(8), Normalization()).numpy())
    int8.convert_trained(quantized, paths["qat"], normalization=Normalization())
    return paths


@pytest.fixture(params=["int8", "qat"])
def operators(request, files) -> tuple[quantization.Operator, ...]:
    return quantization.read(files[request.param]).operators


def test_every_kernel_behind_the_beginning_is_int8_with_a_scale_for_every_output_channel(files, operators):
    kernels = [operator for operator in operators if operator.kernel]
    assert [operator.kernel.type for operator in kernels[:2]] == ["float32"] * 2
    plain = quantization.read(files["float32"]).operators
    norms = [op for op in plain if op.kind == "MUL" and op.inputs[1].constant and len(op.inputs[1].shape) == 1]
    # A batch norm behind a concatenation, a factor and a term in the float file, is a depthwise convolution.
    assert len(kernels) == len([operator for operator in plain if operator.kernel]) + len(norms)
    for operator in kernels[2:]:
        kernel = operator.kernel
        assert kernel.type == "int8" and operator.per_channel, operator
        assert len(kernel.scales) == operator.channels == operator.outputs[0].shape[-1]
        assert set(kernel.zero_points) == {0}
        # LightNL's subsampling has ones, and one that adds nothing a kernel of zeros.
        assert len(set(kernel.scales)) > 1 or kernel.scales[0] == 1.0 or kernel.scales[0] < 1e-11, operator


def bias_of(operator: quantization.Operator) -> quantization.Values | None:
    return operator.inputs[2] if operator.kernel and len(operator.inputs) > 2 else None


def test_a_bias_has_the_steps_of_input_times_kernel(operators):
    for operator in operators:
        if (bias := bias_of(operator)) and operator.type != "float32":
            scales = operator.inputs[0].scales[0] * np.array(operator.kernel.scales)
            assert bias.type == "int32" and set(bias.zero_points) == {0}
            np.testing.assert_allclose(bias.scales, scales, rtol=1e-5)


def test_no_bias_is_cut_off_and_a_channel_of_zeros_keeps_its_own(files):
    """All are compared with the float file's, but those of LightNL's subsampling, which is made anew."""

    def biases(path) -> dict[str, tuple[np.ndarray, float]]:
        """The kernel's name -> real values, and their steps."""
        model = flatbuffer_utils.read_model(str(path))
        read, (graph,) = quantization.contents(model).operators, model.subgraphs
        found = {}
        for operator, raw in zip(read, graph.operators, strict=True):
            if bias := bias_of(operator):
                data = bytes(model.buffers[graph.tensors[raw.inputs[2]].buffer].data)
                steps = np.array(bias.scales or (1.0,))
                found[bias.name] = np.frombuffer(data, bias.type) * steps, max(steps)
        return found

    expected, got = biases(files["float32"]), biases(files["int8"])
    shared = [name for name in expected if name in got]
    assert len(shared) > 10
    for name in shared:
        apart = np.abs(got[name][0] - expected[name][0])
        assert (apart <= 0.51 * got[name][1] + 1e-6 * np.abs(expected[name][0])).all(), name
    assert any(values.shape == (32,) and np.isclose(values[DEAD], 1.5) for values, _ in got.values())


def test_the_classifier_asks_for_a_runtime_that_knows_a_scale_for_every_output(files):
    codes = flatbuffer_utils.read_model(str(files["int8"])).operatorCodes
    assert [code.version for code in codes if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED] == [12]


def test_everything_is_int8_but_the_beginning_and_the_end(operators):
    """Nothing goes to float32 and back in between; without a fused relu6 there is a swish.

    The classifier after training has int8 weights and float32 logits, in files of --qat int8 logits.
    """
    swish = [] if operators[2].activation else ["LOGISTIC", "MUL"]
    beginning = ["SUB", "MUL", "CONV_2D", *swish, "DEPTHWISE_CONV_2D"]
    floats = [operator for operator in operators if operator.type == "float32" and operator.kind != "DEQUANTIZE"]
    classifier = [operator.kind for operator in operators[-2:-1] if operator.kernel]
    assert classifier in ([], ["FULLY_CONNECTED"])
    assert [operator.kind for operator in floats] == [*beginning, *classifier, "SOFTMAX"]
    assert [operator.kind for operator in operators].count("DEQUANTIZE") == 1
    assert operators[len(beginning)].kind == "QUANTIZE"


@pytest.mark.parametrize("header", ["", "network activation=relu6\n"])
def test_a_shortcut_around_the_first_block_takes_its_value_from_the_float_beginning(header, tmp_path):
    spec = blockstring.parse(header + "r1_k3_s11_e1_i32_o32\nr1_k3_s22_e3_i32_o24\n")
    model = lively(build_network(spec, image_size=SIZE, num_classes=3))
    quantized = quantized_network(model)
    calibrate(quantized, normalize(pictures(8), Normalization()).numpy())
    files = {name: tmp_path / f"{name}.tflite" for name in ("float32", "int8", "qat")}
    tflite.convert_fp32(model, files["float32"], normalization=Normalization())
    int8.quantize_int8(files["float32"], files["int8"], pictures(8))
    int8.convert_trained(quantized, files["qat"], normalization=Normalization())
    assert all(graph_facts(files[name]).xnnpack_whole for name in ("int8", "qat"))
    simulated = quantized(normalize(pictures(8), Normalization()), training=False)
    got = TFLiteRunner(files["qat"])(pictures(8))
    np.testing.assert_allclose(got, keras.activations.softmax(simulated), atol=0.05)


def test_a_fused_activation_stays_fused(files, operators):
    def fused(found):
        return sorted(operator.activation for operator in found if operator.activation)

    assert fused(operators) == fused(quantization.read(files["float32"]).operators)
    assert not {"RELU", "RELU6"} & {operator.kind for operator in operators}


def test_an_int8_sigmoid_has_the_range_that_its_kernel_needs(operators):
    found = [op.outputs[0] for op in operators if op.kind == "LOGISTIC" and op.type == "int8"]
    assert {values.scales + values.zero_points for values in found} == {(1 / 256, -128)}


@pytest.mark.parametrize("files", ["autonl"], indirect=True)
def test_constants_are_where_every_runtime_looks_for_them(files, tmp_path):
    """ai-edge-quantizer puts those of files of 256 KiB and more behind the flat buffer."""
    path = tmp_path / "float_products.tflite"
    int8.quantize_int8(files["float32"], path, pictures(2), float_products=True)
    assert path.stat().st_size > 2**18
    model = flatbuffer_utils.convert_bytearray_to_object(path.read_bytes())
    assert not any(buffer.offset for buffer in model.buffers)
    assert graph_facts(path).xnnpack_whole


def test_the_summary_counts_what_the_file_holds(files):
    for name in ("float32", "int8"):
        found = quantization.read(files[name]).operators
        short = quantization.summary(found)
        assert sum(short["computed_in"].values()) == len([o for o in found if o.kind not in quantization.CONVERSIONS])
        beginning = ("CONV_2D", "DEPTHWISE_CONV_2D") if name == "int8" else ()
        for kind, rows in short["kernels"].items():
            assert set(rows) == ({"float32", "int8"} if kind in beginning else {name})
            assert all(row["per_channel"] == (row["count"] if of == "int8" else 0) for of, row in rows.items())
            assert kind not in beginning or rows["float32"]["count"] == 1


def test_what_is_not_a_whole_tflite_file_is_refused_in_one_line(files, tmp_path):
    whole = files["int8"].read_bytes()
    path = tmp_path / "m.tflite"
    for data, fault in (
        (b"", "is not a TFLite file"),
        (b"no model at all", "is not a TFLite file"),
        (whole[: len(whole) // 2], "is a damaged TFLite file"),
        (whole[:8], "is a damaged TFLite file"),
        (b"\xff" * 4 + whole[4:], "is a damaged TFLite file"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"^{path}: {fault}[^\n]*$"):
            quantization.read(path)
    with pytest.raises(UserError, match="No such file"):
        quantization.read(tmp_path / "none.tflite")
