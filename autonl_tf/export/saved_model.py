"""A network as a SavedModel that takes encoded images or pixels and answers with class names.

Signatures, k = min(5, K) and K the number of classes:

    serving_default   image_bytes  string  [B]           encoded images, see docs/data.md; decoding, centre crop,
                                                         legacy bicubic resize and normalisation inside
    float_images      images       float32 [B, S, S, 3]  RGB in the scale of 0 to 255; normalisation inside

    both give         classes        string  [B, k]  names of the best classes, best first
                      scores         float32 [B, k]  their probabilities
                      probabilities  float32 [B, K]
                      logits         float32 [B, K]

No output's name ends in `_bytes`, which the REST interface of TF-Serving would encode as base64.

A request is refused as an invalid argument, in words, when it has another shape, its batch is empty, a string is no
image or of a kind that is not read here, an image has more pixels than `Reading.max_pixels` (its header tells both,
before it is decoded), or it is so small that its centre crop, int(S / (S + padding) * side) pixels wide, is empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import images as image_ops
from autonl_tf.data.reading import AS_SHOWN, Reading

BYTES_SIGNATURE = "serving_default"
FLOAT_SIGNATURE = "float_images"
BYTES_INPUT = "image_bytes"
FLOAT_INPUT = "images"
MAX_NAMED_CLASSES = 5


def export_saved_model(
    model: keras.Model,
    directory: str | Path,
    *,
    class_names: Sequence[str],
    normalization: Normalization,
    crop_padding: int = image_ops.CROP_PADDING,
    reading: Reading = AS_SHOWN,
) -> None:
    """Writes the network into `directory` (for TF-Serving, a version directory such as `NAME/1`).

    The Keras objects stay behind: the file holds variables and graphs, and loads with TensorFlow alone.

    Args:
      model: normalised images [B, S, S, 3] to logits [B, K], its variables being the weights to export.
      directory: made if missing; it should be new or empty.
      class_names: K names in label order.
      normalization: what the model's images were normalised by.
      crop_padding: of the centre crop that encoded images get.
    """
    image_size = model.input_shape[1]
    without_pillow = dataclasses.replace(reading, with_pillow=False)
    pixels = tf.TensorSpec([image_size, image_size, 3], tf.float32)
    batch = tf.TensorSpec([None, *pixels.shape], tf.float32, name=FLOAT_INPUT)

    # Traced once and called by both signatures, which halves the file's graph.
    @tf.function(input_signature=[batch], autograph=False)
    def classify(images):
        logits = tf.cast(model(image_ops.normalize(images, normalization), training=False), tf.float32)
        probabilities = tf.nn.softmax(logits)
        scores, labels = tf.math.top_k(probabilities, min(MAX_NAMED_CLASSES, len(class_names)))
        return {
            "classes": tf.gather(tf.constant(tuple(class_names)), labels),
            "scores": scores,
            "probabilities": probabilities,
            "logits": logits,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=BYTES_INPUT)], autograph=False)
    def by_bytes(image_bytes):
        def prepare(encoded):
            return image_ops.preprocess_for_eval(encoded, image_size, crop_padding, without_pillow)

        image_bytes = image_ops.after(_check_strings(image_bytes), image_bytes)
        image_bytes = image_ops.after(_check_batch(image_bytes), image_bytes)
        return classify(tf.map_fn(prepare, image_bytes, fn_output_signature=pixels))

    @tf.function(input_signature=[batch], autograph=False)
    def by_pixels(images):
        images = image_ops.after(_check_pixels(images, pixels.shape), images)
        return classify(image_ops.after(_check_batch(images), images))

    archive = tf.Module(name="autonl")
    archive.weights = list(model.variables)
    archive.by_bytes, archive.by_pixels = by_bytes, by_pixels
    signatures = {BYTES_SIGNATURE: by_bytes, FLOAT_SIGNATURE: by_pixels}
    tf.saved_model.save(archive, str(directory), signatures=signatures)


def _check_batch(batch: tf.Tensor) -> tf.Operation:
    return tf.debugging.assert_positive(tf.shape(batch)[0], "the batch is empty: send at least one image")


def _check_strings(encoded: tf.Tensor) -> tf.Operation:
    """Refuses strings that are no list: a server does not compare a request with the signature."""
    given = tf.compat.v1.placeholder_with_default(encoded, None)  # without the signature's static shape
    return tf.debugging.Assert(
        tf.equal(tf.rank(given), 1), [f"{BYTES_INPUT} must have shape [batch], have", tf.shape(given)]
    )


def _check_pixels(images: tf.Tensor, shape: tf.TensorShape) -> tf.Operation:
    """Refuses images of another shape, likewise."""
    given = tf.compat.v1.placeholder_with_default(images, None)  # without the signature's static shape
    # Compared as text, since a comparison of numbers fails by itself where the ranks differ.
    fits = tf.equal(tf.strings.reduce_join(tf.as_string(tf.shape(given)[1:]), separator=","), ",".join(map(str, shape)))
    return tf.debugging.Assert(
        fits, [f"images must have shape [batch, {', '.join(map(str, shape))}], have", tf.shape(given)]
    )
