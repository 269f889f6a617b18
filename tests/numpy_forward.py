"""The official network in NumPy alone, in float64, from block strings and variable names.

It shares nothing with the package: its own reader, channel splits, padding, arithmetic and names, so that it can
stand against them. Checked itself against the release's numbers in networks/test_numpy_forward.py.
"""

import re

import numpy as np

ROOT, CONVOLUTIONS = "single-path", "single-path/mnas_net_model"


def read_block(line):
    """One line of an architecture as a dict."""
    block = {"a": [1], "p": [1], "se": None, "nl": None, "noskip": False}
    for token in line.split("_"):
        key, rest = re.fullmatch(r"(noskip|nonlocal|se|sw|[a-z])(.*)", token).groups()
        if key in "kap":
            block[key] = [int(size) for size in rest.split(".")]
        elif key == "nonlocal":
            ratio, _, stride = rest.partition("-")
            block["nl"] = (float(ratio or 1), int(stride or 1))
        elif key == "noskip":
            block[key] = True
        elif key != "sw":
            block[key] = float(rest) if key == "se" else int(rest[:1] if key == "s" else rest)
    return block


def scaled(filters, multiplier):
    """To a multiple of 8, never down by more than a tenth."""
    if not multiplier:
        return filters
    wanted = filters * multiplier
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def split(total, groups):
    return [total - total // groups * (groups - 1)] + [total // groups] * (groups - 1)


class Weights:
    """Values by name, made when first asked for, and kept in `values` as float32.

    A batch norm's statistics are those of `statistics`, or, where that is None, the mean and variance of what it is
    given, so that a signal reaches the logits through any network.
    """

    def __init__(self, make, suffix="", statistics=None):
        self.make, self.suffix, self.statistics, self.values = make, suffix, statistics, {}

    def __call__(self, name, *shape):
        name += self.suffix
        if name not in self.values:
            self.values[name] = np.asarray(self.make(name, shape), np.float32)
        assert self.values[name].shape == shape, name
        return self.values[name].astype(np.float64)

    def moments(self, name, x):
        computed = (x.mean((0, 1, 2)), x.var((0, 1, 2)))
        keys = [f"{name}/{leaf}{self.suffix}" for leaf in ("moving_mean", "moving_variance")]
        for key, value in zip(keys, computed, strict=True):
            self.values[key] = np.float32(value) if self.statistics is None else self.statistics[key]
        return [self.values[key].astype(np.float64) for key in keys]


def sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def swish(x):
    return x * sigmoid(x)


def taps(x, kernel, stride):
    """For each tap of a SAME convolution (dy, dx, the pixels under it); the larger half of the padding comes last."""
    sides = [-(-side // stride) for side in x.shape[1:3]]
    pads = [max((out - 1) * stride + kernel - side, 0) for out, side in zip(sides, x.shape[1:3], strict=True)]
    x = np.pad(x, [(0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)])
    for dy in range(kernel):
        for dx in range(kernel):
            rows, columns = slice(dy, dy + (sides[0] - 1) * stride + 1, stride), slice(dx, None, stride)
            yield dy, dx, x[:, rows, columns][:, :, : sides[1]]


def light_nl(x, ratio, stride):
    batch, height, width, channels = x.shape
    c = int(channels * ratio)
    g = x[:, ::stride, ::stride].reshape(batch, -1, channels)
    theta = x[..., :c].reshape(batch, -1, c)
    y = theta @ (g[..., :c].transpose(0, 2, 1) @ g) / (height * width)
    return y.reshape(x.shape)


class Forward:
    """`logits` [B, classes] and the output of every block, `blocks`, for images [B, S, S, 3]."""

    def __init__(self, lines, images, classes, weights, multiplier=None):
        self.weights, self.made = weights, {"conv2d": 0, "depthwise_conv2d": 0}
        singles = []
        for block in map(read_block, lines):
            block["i"], block["o"] = scaled(block["i"], multiplier), scaled(block["o"], multiplier)
            singles += [block, *[{**block, "s": 1, "i": block["o"]}] * (block["r"] - 1)]
        # TensorFlow 1 numbered layers as they were made: those of all blocks, then the stem's, then the head's.
        named = [self.name_block(block, f"mnas_blocks_{index}") for index, block in enumerate(singles)]
        stem, head = self.name("conv2d", "mnas_stem"), self.name("conv2d", "mnas_head")
        x = self.convolution(images.astype(np.float64), [stem], [3], scaled(32, multiplier), 2)
        x = swish(self.norm(x, "mnas_stem", 0))
        self.blocks = []
        for index, (block, names) in enumerate(zip(singles, named, strict=True)):
            x = self.block(x, block, names, f"mnas_blocks_{index}")
            self.blocks.append(x)
        x = swish(self.norm(self.convolution(x, [head], [1], 1280), "mnas_head", 0)).mean((1, 2))
        dense = f"{CONVOLUTIONS}/mnas_head/dense"
        self.logits = x @ weights(f"{dense}/kernel", 1280, classes) + weights(f"{dense}/bias", classes)

    def name(self, kind, scope):
        number, self.made[kind] = self.made[kind], self.made[kind] + 1
        return f"{CONVOLUTIONS}/{scope}/{kind}" + (f"_{number}" if number else "")

    def name_block(self, block, scope):
        def many(kind, count, inner=""):
            return [self.name(kind, scope + inner) for _ in range(count)]

        return {
            "expand": many("conv2d", len(block["a"]) if block["e"] > 1 else 0),
            "depthwise": many("depthwise_conv2d", len(block["k"])),
            "se": many("conv2d", 2 if block["se"] else 0, "/se"),
            "project": many("conv2d", len(block["p"])),
            "nl": many("depthwise_conv2d", 1 if block["nl"] else 0, "/nl"),
        }

    def norm(self, x, scope, number):
        name = f"{ROOT}/{scope}/batch_normalization" + (f"_{number}" if number else "")
        gamma, beta = (self.weights(f"{name}/{leaf}", x.shape[-1]) for leaf in ("gamma", "beta"))
        mean, variance = self.weights.moments(name, x)
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def convolution(self, x, names, kernels, filters, stride=1):
        """One convolution a name, each from its share of the input channels to its share of the filters."""
        outputs, start = [], 0
        channels = split(x.shape[-1], len(names))
        for name, kernel, i, o in zip(names, kernels, channels, split(filters, len(names)), strict=True):
            w = self.weights(f"{name}/kernel", kernel, kernel, i, o)
            outputs.append(sum(tap @ w[dy, dx] for dy, dx, tap in taps(x[..., start : start + i], kernel, stride)))
            start += i
        return np.concatenate(outputs, -1)

    def depthwise(self, x, names, kernels, stride=1):
        outputs, start = [], 0
        for name, kernel, i in zip(names, kernels, split(x.shape[-1], len(names)), strict=True):
            w = self.weights(f"{name}/depthwise_kernel", kernel, kernel, i, 1)[..., 0]
            outputs.append(sum(tap * w[dy, dx] for dy, dx, tap in taps(x[..., start : start + i], kernel, stride)))
            start += i
        return np.concatenate(outputs, -1)

    def block(self, inputs, block, names, scope):
        x, norms = inputs, 0
        if names["expand"]:
            x = swish(self.norm(self.convolution(x, names["expand"], block["a"], block["i"] * block["e"]), scope, 0))
            norms = 1
        x = swish(self.norm(self.depthwise(x, names["depthwise"], block["k"], block["s"]), scope, norms))
        if names["se"]:
            x = x * self.squeeze_excite(x.mean((1, 2)), names["se"], max(1, int(block["i"] * block["se"])))
        x = self.norm(self.convolution(x, names["project"], block["p"], block["o"]), scope, norms + 1)
        if names["nl"]:
            y = self.depthwise(light_nl(x, *block["nl"]), names["nl"], [3])
            x = x + self.norm(y, f"{scope}/nl", 0)
        skip = block["s"] == 1 and block["i"] == block["o"] and not block["noskip"]
        return x + inputs if skip else x

    def squeeze_excite(self, means, names, filters):
        channels, (reduce, expand) = means.shape[-1], names
        s = means @ self.weights(f"{reduce}/kernel", 1, 1, channels, filters)[0, 0]
        s = swish(s + self.weights(f"{reduce}/bias", filters))
        s = s @ self.weights(f"{expand}/kernel", 1, 1, filters, channels)[0, 0]
        return sigmoid(s + self.weights(f"{expand}/bias", channels))[:, None, None]
