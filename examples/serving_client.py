"""Sends a video or pictures to a served model; prints the classes and where the action is.

    python examples/serving_client.py --model=runs/mine/export/aacf some.mp4
    python examples/serving_client.py --model=runs/mine/export/aacf --server=http://host:8501 a.mp4
    python examples/serving_client.py --model=runs/stills/export/aacf --server=host:8500 photo.jpg

The server is TensorFlow Serving with `--model_name=aacf`; docs/serving.md starts one. `--model` is
read for what the server does not tell: class names, frame rate, centres of the map's cells. Nothing
of this project is imported: av, numpy and pillow serve, for gRPC also tensorflow-serving-api.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import av
import numpy as np
from PIL import Image

MAX_PIXELS = 1 << 26  # of a picture; the model refuses larger ones
SECONDS = 60  # to wait for the answer; the first call of a server without warm-up takes long
PICTURES = (".jpg", ".jpeg", ".png")
Frames = tuple  # pictures, times in seconds, (height, width)


def read_video(path: str, count: int, fps: float) -> Frames:
    """Returns `count` frames from the centre of a video, `fps` a second (0: each), as JPEG."""
    with av.open(path) as container:
        times = np.array([float(frame.time) for frame in container.decode(video=0)])
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else fps
    step = rate / fps if fps and rate else 1.0
    start = int(max(len(times) - 1 - (count - 1) * step, 0) / 2)
    wanted = np.minimum((start + np.arange(count) * step + 1e-3).astype(int), len(times) - 1)
    kept = {}
    with av.open(path) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                buffer = io.BytesIO()
                frame.to_image().save(buffer, "JPEG", quality=95, subsampling=0)
                kept[index] = buffer.getvalue()
                size = frame.height, frame.width
    return [kept[index] for index in wanted], times[wanted], size


def read_pictures(paths: list[str], count: int) -> Frames:
    """Reads the frames of a clip, or a photograph, as they are."""
    if len(paths) != count:
        sys.exit(f"Expected a video or {count} pictures for this model, received {len(paths)}.")
    encoded = [Path(path).read_bytes() for path in paths]
    sizes = [check_picture(*pair) for pair in zip(paths, encoded)]
    return encoded, np.arange(count), sizes[0]


def check_picture(path: str, encoded: bytes) -> tuple[int, int]:
    """Returns (height, width); ends the program if the model would refuse the picture.

    A server that merges requests into batches fails all of a batch for one broken picture.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=["JPEG", "PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                sys.exit(f"{path}: expected at most {MAX_PIXELS} pixels, received {image.size}.")
            image.load()
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        sys.exit(f"{path}: expected a whole JPEG or PNG, received another file ({error}).")


def ask_rest(server: str, pictures: list[bytes]) -> dict:
    """Returns the outputs by REST, port 8501."""
    encoded = [{"b64": base64.b64encode(picture).decode()} for picture in pictures]
    body = {"signature_name": "serving_default", "inputs": {"frames": [encoded]}}
    request = urllib.request.Request(
        f"{server}/v1/models/aacf:predict", json.dumps(body).encode(), method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            outputs = json.load(answer)["outputs"]
    except urllib.error.HTTPError as error:
        sys.exit(f"{server}: {error.code} {json.load(error).get('error')}")
    except OSError as error:
        sys.exit(f"{server}: {error}")
    return {name: np.array(value, np.float32)[0] for name, value in outputs.items()}


def ask_grpc(server: str, pictures: list[bytes]) -> dict:
    """Returns the outputs by gRPC, port 8500."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "aacf", "serving_default"
    request.inputs["frames"].CopyFrom(tf.make_tensor_proto([pictures]))
    with grpc.insecure_channel(server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            outputs = stub.Predict(request, SECONDS).outputs
        except grpc.RpcError as error:
            sys.exit(f"{server}: {error.code().name} {error.details()}")
    return {name: tf.make_ndarray(value)[0] for name, value in outputs.items()}


def locate(attention: np.ndarray, card: dict, size: tuple[int, int]) -> tuple[float, list[int]]:
    """Returns where the attention `[t, h, w]` is greatest.

    Returns:
        Its frame of the model's input, and the box around the cells there that have at least half
        as much: left, top, right, bottom in pixels of the video.
    """
    time, row, column = np.unravel_index(attention.argmax(), attention.shape)
    strong = attention[time] >= attention[time, row, column] / 2
    model, full = np.array([card["height"], card["width"]]), np.array(size)
    scale = model / full
    if card["resize"] != "stretch":
        scale = np.full(2, scale.max())
    cut = (full * scale - model) / 2 if card["resize"] == "short_side" else np.zeros(2)
    box = []
    for side, name in enumerate(("height", "width")):
        axis = card["map_centres"][name]
        cells = np.flatnonzero(strong.any(axis=1 - side))
        edges = axis["start"] + 0.5 + axis["stride"] * (cells[[0, -1]] + [-0.5, 0.5])
        box.append(np.clip((edges + cut[side]) / scale[side], 0, full[side]).round().astype(int))
    (top, bottom), (left, right) = box
    when = card["map_centres"]["time"]
    return when["start"] + when["stride"] * time, [int(x) for x in (left, top, right, bottom)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", required=True, help="folder of exported versions, for its assets"
    )
    parser.add_argument(
        "--server", default="localhost:8500", help="host:port of gRPC, or http://..."
    )
    parser.add_argument("files", nargs="+", help="a video, or as many pictures as the model takes")
    options = parser.parse_args()
    versions = [path for path in Path(options.model).iterdir() if path.name.isdigit()]
    assets = max(versions, key=lambda path: int(path.name)) / "assets"
    card = json.loads((assets / "model.json").read_text(encoding="utf-8"))
    labels = (assets / "labels.txt").read_text(encoding="utf-8").splitlines()

    if Path(options.files[0]).suffix.lower() in PICTURES:
        pictures, times, size = read_pictures(options.files, card["frames"])
    else:
        pictures, times, size = read_video(options.files[0], card["frames"], card["fps"])
    ask = ask_rest if options.server.startswith("http") else ask_grpc
    outputs = ask(options.server, pictures)

    for index in outputs["probabilities"].argsort()[::-1][:5]:
        print(f"{outputs['probabilities'][index]:6.1%}  {labels[index]}")
    if "action_attention" in outputs:
        frame, (left, top, right, bottom) = locate(outputs["action_attention"], card, size)
        second = np.interp(frame, np.arange(len(times)), times)
        print(f"action at {second:.2f} s, x {left} to {right}, y {top} to {bottom}")


if __name__ == "__main__":
    main()
