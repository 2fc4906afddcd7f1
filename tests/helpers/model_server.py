"""A server of a SavedModel by gRPC and REST, as far as TensorFlow Serving's clients can tell.

ModelServer has no package of a registry. This one answers its Predict call and its REST form of it
(columns: `{"signature_name": ..., "inputs": {...}}`), each with INVALID_ARGUMENT for what the model
or the signature refuses.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Iterator, Mapping

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc as service


class Refused(Exception):
    """What ModelServer answers with INVALID_ARGUMENT."""


class Model:
    """The signatures of a SavedModel, for requests that nobody has checked."""

    def __init__(self, directory: Path):
        self.signatures = tf.saved_model.load(str(directory)).signatures

    def predict(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if name not in self.signatures:
            raise Refused(f'Serving signature name: "{name}" not found in signature def')
        specs = self.signatures[name].structured_input_signature[1]
        if inputs.keys() != specs.keys():
            raise Refused(f"Expected the inputs {[*specs]}, received {[*inputs]}")
        tensors = {key: tf.convert_to_tensor(value) for key, value in inputs.items()}
        for key, value in tensors.items():
            if value.dtype != specs[key].dtype:
                raise Refused(f"{key}: expected {specs[key].dtype.name}, received {value.dtype}")
        try:
            outputs = self.signatures[name](**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise Refused(error.message) from error
        return {key: value.numpy() for key, value in outputs.items()}

    def parse(self, body: Mapping[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
        """Returns signature and inputs of a REST request."""
        name = body.get("signature_name", "serving_default")
        if name not in self.signatures:
            raise Refused(f'Serving signature name: "{name}" not found in signature def')
        specs = self.signatures[name].structured_input_signature[1]
        if not isinstance(body.get("inputs"), dict):
            raise Refused("Expected an object of inputs")
        inputs = {}
        for key, value in body["inputs"].items():
            kind = specs[key].dtype.as_numpy_dtype if key in specs else object
            try:
                inputs[key] = np.array(_decode(value), kind)
            except (ValueError, TypeError) as error:
                raise Refused(f"{key}: {error}") from error
        return name, inputs


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(entry) for entry in value]
    if isinstance(value, dict):
        if value.keys() != {"b64"}:
            raise ValueError(f"expected b64, received {[*value]}")
        return base64.b64decode(value["b64"], validate=True)
    return value


class _Servicer(service.PredictionServiceServicer):
    def __init__(self, model: Model):
        self.model = model

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        try:
            outputs = self.model.predict(request.model_spec.signature_name, inputs)
        except Refused as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def _handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                if self.path != "/v1/models/aacf:predict":
                    raise Refused(f"Malformed request: POST {self.path}")
                outputs = model.predict(*model.parse(json.loads(body)))
                columns = {name: value.tolist() for name, value in outputs.items()}
                status, content = 200, {"outputs": columns}
            except (Refused, json.JSONDecodeError) as error:
                status, content = 400, {"error": str(error)}
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return Handler


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[dict[str, str]]:
    """Serves a version of a model; yields the addresses `grpc` and `rest`."""
    model = Model(directory)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service.add_PredictionServiceServicer_to_server(_Servicer(model), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    http = ThreadingHTTPServer(("localhost", 0), _handler(model))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield {"grpc": f"localhost:{port}", "rest": f"http://localhost:{http.server_port}"}
    finally:
        server.stop(None)
        http.shutdown()
        http.server_close()
