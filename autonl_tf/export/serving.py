"""What TensorFlow Serving reads beside a SavedModel: warm-up requests, and samples of its configuration.

The warm-up file is a TFRecord of `PredictionLog`s, replayed by the server before it takes the version into use. The few
messages around TensorFlow's own `TensorProto` are encoded here, field by field; the tests read them back with the
official classes, which come in a package of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from autonl_tf.export import saved_model

MODEL_NAME = "autonl"
WARMUP = "assets.extra/tf_serving_warmup_requests"
MODELS_CONFIG, BATCHING_CONFIG = "serving/models.config", "serving/batching.config"
BATCH_SIZES = (1, 8, 32)  # that the warm-up runs and the batching sample allows

# Field numbers: apis/prediction_log.proto, predict.proto, model.proto; wrappers.proto is not needed.
_PREDICT_LOG, _REQUEST, _SPEC, _INPUTS, _NAME, _SIGNATURE, _KEY, _VALUE = 6, 1, 1, 2, 1, 3, 1, 2


def write_warmup(directory: Path, encoded: Sequence[bytes], images: np.ndarray) -> None:
    """Writes the warm-up file of the SavedModel in `directory`: both signatures, each at every size of `BATCH_SIZES`.

    Args:
      encoded: image files; the smallest is sent.
      images: float32 [N, S, S, 3] in the scale of 0 to 255; likewise.
    """
    path = directory / WARMUP
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in BATCH_SIZES:
            by_bytes = {saved_model.BYTES_INPUT: tf.make_tensor_proto([min(encoded, key=len)] * size, tf.string)}
            by_pixels = {saved_model.FLOAT_INPUT: tf.make_tensor_proto(np.repeat(images[:1], size, axis=0), tf.float32)}
            writer.write(_log(saved_model.BYTES_SIGNATURE, by_bytes))
            writer.write(_log(saved_model.FLOAT_SIGNATURE, by_pixels))


def _log(signature: str, inputs: Mapping) -> bytes:
    """A `PredictionLog` of one predict request."""
    spec = _field(_NAME, MODEL_NAME.encode()) + _field(_SIGNATURE, signature.encode())
    request = _field(_SPEC, spec)
    for name, tensor in inputs.items():
        entry = _field(_KEY, name.encode()) + _field(_VALUE, tensor.SerializeToString())
        request += _field(_INPUTS, entry)
    return _field(_PREDICT_LOG, _field(_REQUEST, request))


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def write_configuration(directory: Path) -> None:
    """Writes samples for `--model_config_file` and `--batching_parameters_file` into `directory`/serving."""
    folder = directory / "serving"
    folder.mkdir()
    (directory / MODELS_CONFIG).write_text(
        "# tensorflow_model_server --model_config_file=models.config; base_path holds the version directories.\n"
        "model_config_list {\n"
        "  config {\n"
        f'    name: "{MODEL_NAME}"\n'
        f'    base_path: "/models/{MODEL_NAME}"\n'
        '    model_platform: "tensorflow"\n'
        "    model_version_policy { latest { num_versions: 1 } }\n"
        "  }\n"
        "}\n",
        encoding="utf-8",
    )
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in BATCH_SIZES)
    (directory / BATCHING_CONFIG).write_text(
        "# tensorflow_model_server --enable_batching --batching_parameters_file=batching.config\n"
        f"max_batch_size {{ value: {BATCH_SIZES[-1]} }}\n"
        "batch_timeout_micros { value: 2000 }\n"
        "max_enqueued_batches { value: 100 }\n"
        "num_batch_threads { value: 2 }\n"
        "# A batch is filled up to the next of these, which the warm-up has run.\n"
        f"{sizes}",
        encoding="utf-8",
    )
