"""What tf_keras saves of a network loads again in a fresh process, after `import autonl_tf` alone."""

import subprocess
import sys

import numpy as np
import pytest
import tf_keras as keras

import autonl_tf

# A layer of every class that networks have.
ARCH = """\
network activation=hswish shuffle=on
r1_k3_s22_e1_i32_o8_noskip
r1_k3.5_s22_e2_i8_o12_p1.1_nonlocal0.25-2
r1_k3_s11_e2_i12_o12_se0.25_embedded0.5-2_sw
"""
FORMS = ("whole.h5", "whole.keras", "saved", "within.h5", "within.keras")
LOAD = """
import sys
import autonl_tf
assert not {"tensorflow", "tf_keras"} & set(sys.modules)
import numpy as np
import tf_keras as keras
x = np.load("x.npy")
np.savez("loaded.npz", **{form: keras.models.load_model(form)(x) for form in sys.argv[1:]})
"""


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_every_form_loads_in_a_fresh_process(tmp_path):
    (tmp_path / "arch.txt").write_text(ARCH)
    sizes = {"input_shape": (32, 32, 3)}
    whole = autonl_tf.from_arch(str(tmp_path / "arch.txt"), classes=3, **sizes)
    base = autonl_tf.from_arch(str(tmp_path / "arch.txt"), include_top=False, pooling="avg", **sizes)
    within = keras.Sequential([base, keras.layers.Dense(3, "softmax", name="logits")])
    models = {form: within if form.startswith("within") else whole for form in FORMS}
    for form, model in models.items():
        model.save(tmp_path / form)
    x = np.random.default_rng(0).normal(size=[2, 32, 32, 3]).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *FORMS], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "loaded.npz") as loaded:
        for form, model in models.items():
            np.testing.assert_allclose(loaded[form], model(x), rtol=1e-4, atol=1e-6, err_msg=form)
