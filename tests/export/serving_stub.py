"""TensorFlow Serving's prediction service, from the official stubs, over one SavedModel: the API without the server.

As the server does, it runs the graph in a session, by the names in the signatures, and hands TensorFlow's errors on
with their codes.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, directory, name: str):
        self._name, self._lock = name, threading.Lock()
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(directory))
        self._signatures, self._callables = loaded.signature_def, {}

    def Predict(self, request, context):
        if request.model_spec.name != self._name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model_spec.name!r}")
        signature = self._signatures.get(request.model_spec.signature_name or "serving_default")
        if signature is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no signature {request.model_spec.signature_name!r}")
        if set(request.inputs) != set(signature.inputs):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"inputs must be {sorted(signature.inputs)}")
        try:
            values = [tf.make_ndarray(request.inputs[name]) for name in sorted(signature.inputs)]
            found = self._callable(signature)(*values)
        except tf.errors.OpError as error:
            context.abort(_CODES[error.error_code], error.message)
        response = predict_pb2.PredictResponse()
        for name, value in zip(sorted(signature.outputs), found, strict=True):
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def _callable(self, signature):
        """Runs without the checks and casts that a Python session adds and the server does not make."""
        key = min(info.name for info in signature.inputs.values())
        with self._lock, self._session.graph.as_default():
            if key not in self._callables:
                options = config_pb2.CallableOptions(
                    fetch=[signature.outputs[name].name for name in sorted(signature.outputs)],
                    feed=[signature.inputs[name].name for name in sorted(signature.inputs)],
                )
                self._callables[key] = self._session._make_callable_from_options(options)
        return self._callables[key]


@contextlib.contextmanager
def serving(directory, name: str):
    """A client of a server on a free port of this machine, over real gRPC."""
    server = grpc.server(futures.ThreadPoolExecutor(8), options=_LARGE)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(directory, name), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=_LARGE) as channel:
            yield Client(prediction_service_pb2_grpc.PredictionServiceStub(channel), name)
    finally:
        server.stop(None)


class Client:
    def __init__(self, stub, name: str):
        self.stub, self._name = stub, name

    def predict(self, signature: str = "serving_default", **inputs) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._name, signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self.stub.Predict(request, timeout=60)
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
