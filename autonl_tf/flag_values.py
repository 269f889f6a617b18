"""Names that flags accept and other modules go by: each list once, without TensorFlow."""

STRATEGIES = ("auto", "cpu", "mirrored", "multiworker", "tpu")
AUGMENTATIONS = ("none", "autoaugment", "randaugment")
# Precision -> Keras' policy of that name.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# What an export writes, in its directory: TensorFlow Serving's version of a SavedModel, and TFLite files by format.
SAVED_MODEL = "saved_model/1"
TFLITE = {
    "tflite_fp32": "model_fp32.tflite",
    "tflite_fp16": "model_fp16.tflite",
    "tflite_int8": "model_int8.tflite",
    "tflite_qat": "model_qat.tflite",
}
FORMATS = ("savedmodel", *TFLITE)
DEFAULT_FORMATS = ("savedmodel", "tflite_fp32")
