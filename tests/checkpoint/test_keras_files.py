"""What tf_keras saves of a network serves as weights, in each of its forms; a file of another network is refused."""

import json
import zipfile

import h5py
import numpy as np
import pytest
import tf_keras as keras
from mode_cases import configure

import autonl_tf
from autonl_tf.arch import blockstring
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.errors import UserError
from autonl_tf.networks.network import build_network
from autonl_tf.prepare import checkpointed

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

ARCH = "r1_k3_s22_e1_i32_o8_noskip\nr1_k3.5_s22_e2_i8_o12_nonlocal0.25-2\nr1_k3_s11_e2_i12_o12_se0.25_embedded0.5-2\n"
SPEC = blockstring.parse(ARCH)
X = np.random.default_rng(0).normal(size=[2, 32, 32, 3]).astype(np.float32)
WEIGHTS = ("graph/w", "w.h5", "w.weights.h5")
WHOLE = ("m.h5", "m.keras", "saved")


def network(spec=SPEC, classes=3):
    return build_network(spec, image_size=32, num_classes=classes)


def save(model, root, forms=(*WEIGHTS, *WHOLE)):
    for form in forms:
        (model.save_weights if form in WEIGHTS else model.save)(root / form)


def shaken(model):
    """The model with weights that are other than at the start."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1.0, variable.shape) * (1 if len(variable.shape) == 1 else 0.1))
    return model


@pytest.fixture(scope="module")
def arch(tmp_path_factory):
    path = tmp_path_factory.mktemp("arch") / "arch.txt"
    path.write_text(ARCH)
    return str(path)


@pytest.fixture(scope="module")
def plain(arch, tmp_path_factory):
    """A network, saved as it is."""
    root = tmp_path_factory.mktemp("plain")
    model = shaken(autonl_tf.from_arch(arch, input_shape=X.shape[1:], classes=3, classifier_activation=None))
    save(model, root)
    model.export(root / "exported")
    return root, model


@pytest.fixture(scope="module")
def trained(arch, tmp_path_factory):
    """A network after a step of `fit`, whose files hold an optimizer and metrics too."""
    root = tmp_path_factory.mktemp("trained")
    model = autonl_tf.from_arch(arch, input_shape=X.shape[1:], classes=3)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, np.array([0, 2]), verbose=0)
    save(model, root)
    return root, keras.Model(model.input, model.get_layer("logits").output)


@pytest.fixture(scope="module")
def within(arch, tmp_path_factory):
    """The features of a network in a model of somebody's own, whose classifier has our name."""
    root = tmp_path_factory.mktemp("within")
    base = shaken(autonl_tf.from_arch(arch, input_shape=X.shape[1:], include_top=False, pooling="avg"))
    model = keras.Sequential([base, keras.layers.Dropout(0.1), keras.layers.Dense(3, name="logits")])
    save(model, root, ("graph/w", "w.h5", *WHOLE))
    return root, model


@pytest.mark.parametrize(
    ("made", "form"),
    [
        *(("plain", form) for form in (*WEIGHTS, *WHOLE, "exported")),
        *(("trained", form) for form in (*WEIGHTS, *WHOLE)),
        *(("within", form) for form in ("graph/w", "w.h5", *WHOLE)),
    ],
)
def test_every_form_gives_the_networks_logits(made, form, request):
    root, model = request.getfixturevalue(made)
    found, said = open_checkpoint(str(root / form), SPEC), []
    assert len(found.class_names) == 3
    other = network()
    found.load_into(other, tell=said.append)
    np.testing.assert_allclose(other(X), model(X), rtol=1e-5, atol=1e-6)
    assert said == [f"weights: {root / form}"]


@pytest.mark.parametrize("form", [*WEIGHTS, *WHOLE])
def test_blocks_that_a_file_lacks_start_as_the_identity(form, plain):
    root, model = plain
    more = blockstring.parse(ARCH.replace("o8_noskip", "o8_noskip_nonlocal0.5-1"))
    other, said = network(more), []
    open_checkpoint(str(root / form), more).load_into(other, tell=said.append)
    np.testing.assert_allclose(other(X), model(X), rtol=1e-5, atol=1e-6)
    assert said[-1].endswith("starting as the identity: LightNL in 1 block (0)")


@pytest.mark.parametrize("form", [*WEIGHTS, *WHOLE])
def test_a_file_of_another_network_is_refused_with_names_and_shapes(form, plain):
    other = blockstring.parse(ARCH.replace("_se0.25", "").replace("i8_o12", "i8_o16").replace("i12_o12", "i16_o16"))
    with pytest.raises(UserError, match=r"does not fit the network: .*\d+ mismatched: .* \(checkpoint .*, network"):
        open_checkpoint(str(plain[0] / form), other).load_into(network(other))


@pytest.mark.parametrize("form", WHOLE)
def test_layers_that_compute_otherwise_are_told_though_every_shape_fits(form, plain):
    strided = blockstring.parse(ARCH.replace("k3_s11", "k3_s22").replace("o12_se0.25", "o12_se0.25_noskip"))
    with pytest.raises(UserError, match=r"block2_depthwise \(strides: checkpoint \[1, 1\], network \[2, 2\]\)"):
        open_checkpoint(str(plain[0] / form), strided).load_into(network(strided))
    ratio = blockstring.parse(ARCH.replace("nonlocal0.25-2", "nonlocal0.5-2"))
    with pytest.raises(UserError, match=r"1 mismatched: block1_nl_product \(ratio: checkpoint 0\.25, network 0\.5\)$"):
        open_checkpoint(str(plain[0] / form), ratio).load_into(network(ratio))


def test_a_model_with_layers_of_its_own_is_refused(arch, tmp_path):
    base = autonl_tf.from_arch(arch, input_shape=X.shape[1:], include_top=False, pooling="avg")
    head = keras.layers.Dense(3, name="flowers")
    model = keras.Sequential([keras.layers.Rescaling(1 / 255, name="rescaling"), base, head])
    model.build([None, *X.shape[1:]])
    save(model, tmp_path, ("m.keras", "w.h5"))
    for form in ("m.keras", "w.h5"):
        found = open_checkpoint(str(tmp_path / form), SPEC)
        culprit = r"2 missing: logits/bias \(3,\), logits/kernel \(1280, 3\); 2 unexpected: flowers/"
        with pytest.raises(UserError, match=culprit) as error:
            found.load_into(network())
        assert ("rescaling (a Rescaling that the network has not)" in str(error.value)) == (form == "m.keras")


def test_a_model_of_images_that_are_not_square_keeps_their_shape(arch, tmp_path):
    model = shaken(autonl_tf.from_arch(arch, input_shape=(16, 32, 3), classes=3))
    save(model, tmp_path, ("m.keras", "m.h5"))
    x = np.ones([1, 16, 32, 3], np.float32)
    for form in ("m.keras", "m.h5"):
        again = autonl_tf.from_arch(arch, weights=str(tmp_path / form), classes=3)
        assert again.input_shape == (None, 16, 32, 3)
        np.testing.assert_allclose(again(x), model(x), rtol=1e-5)
        words = ("--mode=predict", f"--init_checkpoint={tmp_path}/{form}", f"--arch={arch}", "--images=x")
        with pytest.raises(UserError, match="takes images of 16 x 32 pixels; give --input_image_size"):
            checkpointed.load(configure(*words))


def test_features_without_a_classifier_serve_as_features(arch, tmp_path):
    base = shaken(autonl_tf.from_arch(arch, input_shape=X.shape[1:], include_top=False, pooling="avg"))
    save(base, tmp_path, ("w.weights.h5", "m.keras"))
    for form in ("w.weights.h5", "m.keras"):
        options = {"input_shape": X.shape[1:], "include_top": False, "pooling": "avg"}
        again = autonl_tf.from_arch(arch, weights=str(tmp_path / form), **options)
        np.testing.assert_allclose(again(X), base(X), rtol=1e-5)
        with pytest.raises(UserError, match="has no classifier; give include_top=False"):
            autonl_tf.from_arch(arch, weights=str(tmp_path / form), input_shape=X.shape[1:], classes=3)


def test_damaged_and_foreign_files_are_one_line(plain, tmp_path):
    def refused(culprit, path):
        with pytest.raises(UserError, match=culprit) as error:
            open_checkpoint(str(path), SPEC).load_into(network())
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)

    for form in ("w.h5", "w.weights.h5", "m.keras"):
        whole = (plain[0] / form).read_bytes()
        path = tmp_path / form
        path.write_bytes(whole[: len(whole) // 2])
        refused("cannot be read as a Keras file: |is not a Keras file", path)
        path.write_text("not one of these")
        refused("is not a Keras file: neither HDF5 nor a .keras archive", path)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("notes.txt", "hello")
    refused(r"lacks config\.json; it holds notes\.txt", tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": []}}))
        archive.writestr("model.weights.h5", bytes(300_000_000))
    refused(r"its weights have 300000000 bytes, more than", tmp_path / "m.keras")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["temperature"] = np.zeros(3)
    refused("holds no Keras weights: temperature", tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", (4,), "f4", external=[("/etc/passwd", 0, 16)])
    refused("its array layers/dense/vars/0 lies in another file", tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 20, 1 << 20), "f4", chunks=True)
    refused(r"its arrays have 4398046511104 bytes, more than 20 times the file's", tmp_path / "w.h5")
    with pytest.raises(UserError, match="a Keras file does not say its architecture; give --arch"):
        open_checkpoint(str(plain[0] / "m.keras"))


def test_a_lambda_in_a_file_does_not_run(arch, tmp_path):
    model = network()
    trap = str(tmp_path / "trap")
    x = keras.layers.Lambda(lambda x, path=trap: (open(path, "w").close(), x)[1])(model.output)
    keras.Model(model.input, x).save(tmp_path / "m.keras")
    (tmp_path / "trap").unlink()
    with pytest.raises(UserError, match=r"1 mismatched: lambda\S* \(a Lambda that the network has not\)"):
        open_checkpoint(str(tmp_path / "m.keras"), SPEC).load_into(network())
    assert not (tmp_path / "trap").exists()
