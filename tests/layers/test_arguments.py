"""Every layer refuses arguments that it cannot use, with the reason: other types, other values."""

import inspect

import pytest
from layer_cases import EXAMPLES, IMAGES, KINDS, called

# What no layer takes for a whole number, a number or a list of them.
WRONG = (-1, 1.5, 2.0, "2", None, True, float("nan"), float("inf"), [], (0,), (2.5, 4), (2, "4"), (2, 2))
ARGUMENTS = [
    *(("LightNL", "ratio", ()), ("LightNL", "stride", (0,)), ("LightNLProduct", "ratio", (0,))),
    *(("LightNLProduct", "stride", (0,)), ("EmbeddedNonLocal", "ratio", (0,)), ("EmbeddedNonLocal", "stride", (0,))),
    *(("GatedLightNL", "filters", (4, (4, 2))), ("GatedLightNL", "strides", (1, (4, 2), (1, 2)))),
    *(("GatedSqueezeExcite", "filters", (4, (4, 2))), ("GatedSqueezeExcite", "activation", ("tanh",))),
    *(
        ("SuperkernelDepthwiseConv2D", "kernel_sizes", (3, (5, 3), (4, 6))),
        ("SuperkernelDepthwiseConv2D", "stride", (0,)),
    ),
    *(("SuperkernelDepthwiseConv2D", "padding", ("valid",)), ("Dropout", "rate", (1,))),
    ("GatedBatchNormalization", "momentum", (1,)),
    *(("ChannelGroup", "start", ()), ("ChannelGroup", "size", (0,)), ("ChannelShuffle", "groups", (0,))),
]


@pytest.mark.parametrize(("name", "argument", "further"), ARGUMENTS)
def test_a_wrong_argument_is_refused_when_the_layer_is_made(name, argument, further):
    kind, good = KINDS[name], EXAMPLES[name][0]
    for value in (*WRONG, *further):
        with pytest.raises(ValueError, match=rf"^{name.removesuffix('Product')}: {argument}=.*: accepted: "):
            kind(**{**good, argument: value})


def test_every_argument_of_every_layer_is_tried():
    """But for switches, initialisers, which Keras refuses, and those of Keras' own convolution."""
    known = {"self", "kwargs", "sync_batch_norm", "synchronized", "gamma_initializer"}
    checked = {(name, argument) for name, argument, _ in ARGUMENTS}
    for name in KINDS.keys() - {"DepthwiseConv2D"}:
        if "__init__" in vars(KINDS[name]):
            own = inspect.signature(KINDS[name].__init__).parameters.keys() - known
            assert {(name, argument) for argument in own} <= checked


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: KINDS["ChannelGroup"](start=6, size=4), "ChannelGroup: start=6, size=4: accepted: within 8 channels"),
        (lambda: KINDS["ChannelShuffle"](groups=3), "ChannelShuffle: groups=3: accepted: a divisor of the 8 channels"),
        (
            lambda: KINDS["GatedLightNL"]((4, 9), (2, 1)),
            r"GatedLightNL: filters=\(4, 9\): accepted: at most the 8 channels",
        ),
        (lambda: KINDS["LightNL"](stride=9), "LightNL stride 9 is larger than its 8x8 feature map"),
    ],
)
def test_what_does_not_fit_the_channels_is_refused_when_the_layer_is_built(layer, reason):
    layer = layer()
    with pytest.raises(ValueError, match=reason):
        called(layer, IMAGES)
