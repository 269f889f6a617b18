"""State dictionaries of the PyTorch port: the converted network computes what the port does, by a NumPy reference."""

import json
import resource

import numpy as np
import pytest
import torch_files
from mode_cases import run
from numpy.lib.stride_tricks import sliding_window_view

from autonl_tf.arch import blockstring
from autonl_tf.checkpoint.pytorch import pytorch_names
from autonl_tf.errors import UserError

ARCH = """\
r1_k3_s11_e1_i32_o8
r1_k5_s22_e3_i8_o12_nonlocal0.25-1
r2_k3_s11_e2_i12_o12_nonlocal0.5-2_se0.5
r1_k5_s22_e2_i12_o16_se0.25
"""
SIZE, CLASSES = 32, 5


def shapes(spec):
    """torch name -> shape, as the port declares its modules."""
    found = {"features.0.0.weight": (32, 3, 3, 3), **norm("features.0.1", 32)}
    blocks = spec.singles()
    for index, block in enumerate(blocks, start=1):
        wide, at = block.expanded_filters, f"features.{index}"
        if block.expansion != 1:
            found |= {f"{at}.expand_conv.0.weight": (wide, block.in_filters, 1, 1), **norm(f"{at}.expand_conv.1", wide)}
        depth = f"{at}.depth_ops.0.{int(block.expansion != 1)}"
        kernel = block.kernels[0]
        found |= {f"{depth}.0.weight": (wide, 1, kernel, kernel), **norm(f"{depth}.1", wide)}
        if block.se_ratio:
            few = round(block.in_filters * block.se_ratio)
            found |= {f"{at}.se_op.se_reduce.weight": (few, wide, 1, 1), f"{at}.se_op.se_reduce.bias": (few,)}
            found |= {f"{at}.se_op.se_expand.weight": (wide, few, 1, 1), f"{at}.se_op.se_expand.bias": (wide,)}
        out = block.out_filters
        found |= {f"{at}.project_conv.0.weight": (out, wide, 1, 1), **norm(f"{at}.project_conv.1", out)}
        if block.nonlocal_:
            found |= {f"{at}.nl_op.depthwise_conv.weight": (out, 1, 3, 3), **norm(f"{at}.nl_op.bn", out)}
    last = f"features.{len(blocks) + 1}"
    found |= {f"{last}.0.weight": (1280, blocks[-1].out_filters, 1, 1), **norm(f"{last}.1", 1280)}
    return found | {"classifier.1.weight": (CLASSES, 1280), "classifier.1.bias": (CLASSES,)}


def norm(name, channels):
    return {f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def random_state(spec, seed=0):
    rng, state = np.random.default_rng(seed), {}
    for name, shape in shapes(spec).items():
        fan = max(1, int(np.prod(shape[1:])))
        values = rng.normal(0, fan**-0.5, shape)
        if name.endswith("running_var"):
            values = rng.uniform(0.5, 2, shape)
        elif len(shape) == 1 and name.endswith("weight"):
            values = rng.uniform(0.5, 1.5, shape)
        state[name] = values.astype(np.float32)
        if name.endswith("running_var"):
            state[name.replace("running_var", "num_batches_tracked")] = np.array(9, np.int64)
    return state


class Port:
    """The port's forward pass on [N, C, H, W] in float64, as its modules are written."""

    def __init__(self, spec, state):
        self.spec, self.state = spec, {name: np.float64(value) for name, value in state.items()}

    def conv(self, x, name, stride=1):
        kernel = self.state[f"{name}.weight"]
        pad, size = kernel.shape[-1] // 2, kernel.shape[-1]
        x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
        windows = sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]
        if kernel.shape[1] == 1 and kernel.shape[0] == x.shape[1]:
            return np.einsum("nchwij,cij->nchw", windows, kernel[:, 0])
        return np.einsum("nchwij,ocij->nohw", windows, kernel)

    def norm(self, x, name):
        gamma, beta, mean, variance = (
            self.state[f"{name}.{leaf}"][:, None, None] for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def conv_bn_act(self, x, name, stride=1):
        return swish(self.norm(self.conv(x, f"{name}.0", stride), f"{name}.1"))

    def light_nl(self, x, name, ratio, stride):
        _, channels, height, width = x.shape
        few = int(ratio * channels)
        g = x[:, :, ::stride, ::stride]
        context = np.einsum("nihw,njhw->nij", g[:, :few], g)
        f = np.einsum("nij,nihw->njhw", context, x[:, :few]) / height * width
        return x + self.norm(self.conv(f, f"{name}.depthwise_conv"), f"{name}.bn")

    def block(self, inputs, block, at):
        x = self.conv_bn_act(inputs, f"{at}.expand_conv") if block.expansion != 1 else inputs
        x = self.conv_bn_act(x, f"{at}.depth_ops.0.{int(block.expansion != 1)}", block.stride)
        if block.se_ratio:
            s = x.mean((2, 3), keepdims=True)
            bias = {part: self.state[f"{at}.se_op.se_{part}.bias"][:, None, None] for part in ("reduce", "expand")}
            s = swish(self.conv(s, f"{at}.se_op.se_reduce") + bias["reduce"])
            x = x / (1 + np.exp(-(self.conv(s, f"{at}.se_op.se_expand") + bias["expand"])))
        x = self.norm(self.conv(x, f"{at}.project_conv.0"), f"{at}.project_conv.1")
        if block.nonlocal_:
            x = self.light_nl(x, f"{at}.nl_op", block.nonlocal_.ratio, block.nonlocal_.stride)
        return x + inputs if block.stride == 1 and block.in_filters == block.out_filters else x

    def __call__(self, images):
        x = self.conv_bn_act(np.float64(images).transpose(0, 3, 1, 2), "features.0", 2)
        blocks = self.spec.singles()
        for index, block in enumerate(blocks, start=1):
            x = self.block(x, block, f"features.{index}")
        x = self.conv_bn_act(x, f"features.{len(blocks) + 1}").mean((2, 3))
        return x @ self.state["classifier.1.weight"].T + self.state["classifier.1.bias"]


def swish(x):
    return x / (1 + np.exp(-x))


@pytest.fixture
def ported(tmp_path):
    (tmp_path / "arch.txt").write_text(ARCH)
    spec = blockstring.parse(ARCH)
    return spec, random_state(spec), tmp_path


def converting(path, kind, state, **changed):
    (path / "port.pt").write_bytes(torch_files.WRITERS[kind](state))
    words = {"init_checkpoint": path / "port.pt", "arch": path / "arch.txt", "model_dir": path / "run",
             "input_image_size": SIZE} | changed  # fmt: skip
    return ["--mode=convert", "--from=pytorch", *(f"--{name}={value}" for name, value in words.items() if value != "")]


@pytest.mark.parametrize(("kind", "prefix", "within"), [("zip", "", None), ("legacy", "module.", "model"),
                                                        ("safetensors", "", None)])  # fmt: skip
def test_the_converted_network_gives_the_ports_logits(kind, prefix, within, ported, capsys):
    from mode_cases import configure

    import autonl_tf.prepare.checkpointed as checkpointed

    spec, state, path = ported
    named = {prefix + name: value for name, value in state.items()}
    run(*converting(path, kind, {within: named, "epoch": 3} if within else named))
    assert "LightNL's scale is folded for 32 px" in capsys.readouterr().err
    model = checkpointed.load(configure("--mode=predict", f"--model_dir={path}/run", "--images=x")).model
    images = np.random.default_rng(1).normal(size=[2, SIZE, SIZE, 3]).astype(np.float32)
    expected = Port(spec, state)(images)
    error = np.linalg.norm(model(images) - expected) / np.linalg.norm(expected)
    assert error < 1e-5
    described = json.loads((path / "run" / "model.json").read_text())
    assert described["arch"].startswith("network padding=symmetric\n")
    assert described["converted_from"]["kind"] == "pytorch"


def test_same_padding_or_the_releases_scale_would_give_other_logits(ported):
    """What the two differences amount to: the test above would see either."""
    spec, state, _ = ported
    images = np.random.default_rng(1).normal(size=[1, SIZE, SIZE, 3])
    right = Port(spec, state)(images)

    class Shifted(Port):
        def conv(self, x, name, stride=1):
            if stride == 2:
                x = np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1)])[:, :, 1:, 1:]
            return super().conv(x, name, stride)

    class Scaled(Port):
        def light_nl(self, x, name, ratio, stride):
            full = super().light_nl(x, name, ratio, stride)
            return x + (full - x) / (x.shape[2] * x.shape[3])

    for other in (Shifted, Scaled):
        wrong = other(spec, state)(images)
        assert np.linalg.norm(wrong - right) / np.linalg.norm(right) > 1e-2


def test_every_variable_of_the_port_has_one_of_ours(ported):
    spec, state, _ = ported
    names = [port for _, port in pytorch_names(spec)]
    assert len(set(names)) == len(names)
    assert set(names) == {name for name in state if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("spoil", "changed", "culprit"),
    [
        (lambda s: s.pop("features.2.nl_op.bn.bias"), {}, r"1 missing: features\.2\.nl_op\.bn\.bias"),
        (lambda s: s.update(more=np.zeros(1, np.float32)), {}, "1 unexpected: more"),
        (lambda s: s["classifier.1.bias"].fill(np.nan), {}, r"not finite in classifier\.1\.bias"),
        (lambda s: s.update({"classifier.1.bias": np.full(5, 1e300)}), {}, r"not finite in classifier\.1\.bias"),
        (
            lambda s: s.update({"classifier.1.bias": np.array(0, np.float32)}),
            {},
            r"bias has shape \(\), not one a class",
        ),
        (lambda s: s.update({"two\nlines": np.zeros(1, np.float32)}), {}, r"1 unexpected: 'two\\nlines'"),
        (
            lambda s: s.update({"features.0.0.weight": np.zeros([16, 3, 3, 3], np.float32)}),
            {},
            r"1 mismatched: features\.0\.0\.weight \(checkpoint \(3, 3, 3, 16\), network",
        ),
        (lambda s: None, {"arch": ""}, "--from=pytorch needs --arch"),
        (lambda s: None, {"arch": "autonl_s"}, "does not fit the network"),
        (lambda s: None, {"arch": "mixnet_s"}, "no convolutions in groups|only swish"),
        (lambda s: None, {"num_label_classes": 7}, "has 5 classes"),
        (lambda s: None, {"use_averages": False}, "--use_averages does not go with --from=pytorch"),
        (lambda s: None, {"init_checkpoint": "none.pt"}, r"none\.pt: no such file; accepted: \.pt"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(spoil, changed, culprit, ported):
    _, state, path = ported
    spoil(state)
    with pytest.raises(UserError, match=culprit):
        run(*converting(path, "zip", state, **changed))
    assert not (path / "run").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(ported):
    _, state, path = ported
    words = converting(path, "zip", state)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # writing beyond it fails as on a full disk
    try:
        with pytest.raises(UserError, match=r"run: cannot be written: "):
            run(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(entry.name for entry in path.iterdir()) == ["arch.txt", "port.pt"]


def test_a_file_that_holds_no_state_is_refused(ported):
    _, state, path = ported
    with pytest.raises(UserError, match=r"holds no state dictionary, .* it holds epoch, weights"):
        run(*converting(path, "zip", {"epoch": 3, "weights": state}))
