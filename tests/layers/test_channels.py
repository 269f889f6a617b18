"""Channels come last in every public layer; another order is refused with the reason."""

import pytest

import autonl_tf

LAYERS = {
    "LightNL": {},
    "EmbeddedNonLocal": {},
    "GatedLightNL": {"filters": (2, 4), "strides": (2, 1)},
    "GatedSqueezeExcite": {"filters": (2, 4)},
    "SuperkernelDepthwiseConv2D": {"kernel_sizes": (3, 5)},
}


@pytest.mark.parametrize("name", LAYERS)
def test_channels_first_is_refused(name):
    layer = getattr(autonl_tf, name)
    reason = (
        f"{name}: data_format='channels_first': accepted: 'channels_last'; TensorFlow on processors and TFLite have no"
    )
    with pytest.raises(ValueError, match=reason):
        layer(**LAYERS[name], data_format="channels_first")
    assert "data_format" not in layer(**LAYERS[name], data_format="channels_last").get_config()
