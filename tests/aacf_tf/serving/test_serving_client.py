"""The example's client against a real server of gRPC and REST, and what that refuses."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import model_server
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from aacf_tf import load
from examples import serving_client


@pytest.fixture(scope="module")
def server(exported):
    with model_server.serve(exported[2]) as addresses:
        yield addresses


@pytest.fixture
def run(exported, server, monkeypatch, capsys):
    """Runs the command on files; returns what it prints."""

    def run(kind, *files):
        options = [f"--model={exported[1]}", f"--server={server[kind]}", *map(str, files)]
        monkeypatch.setattr(sys, "argv", ["serving_client.py", *options])
        serving_client.main()
        return capsys.readouterr().out

    return run


def test_a_video_is_answered_by_both_roads_as_by_the_predictor(
    run, exported, frames, write_video, tmp_path
):
    video = write_video(tmp_path / "clip.mkv", np.repeat(frames(count=5, batch=1)[0], 4, axis=0))
    shown = run("grpc", video)
    assert shown == run("rest", video)
    *classes, place = shown.splitlines()
    expected = load(exported[1]).predict(video)
    for line, (label, value) in zip(
        classes, sorted(expected.probabilities.items(), key=lambda pair: -pair[1])
    ):
        assert line.split()[1] == label and abs(float(line.split()[0][:-1]) / 100 - value) < 0.05
    peak = np.unravel_index(expected.action_attention.argmax(), expected.action_attention.shape)
    second = np.interp(1 + 2 * peak[0], np.arange(8), expected.times)
    assert place.startswith(f"action at {second:.2f} s, x ")


def test_pictures_are_sent_as_they_are(run, signatures, frames, tmp_path):
    clip = frames(batch=1)
    files = [tmp_path / f"{n}.png" for n in range(8)]
    for file, frame in zip(files, clip[0]):
        Image.fromarray(frame).save(file)
    best = signatures["serve_tensor"](frames=clip)["probabilities"][0].numpy().max()
    assert run("rest", *files).split()[0] == f"{best:.1%}"
    with pytest.raises(SystemExit, match="Expected a video or 8 pictures"):
        run("rest", *files[:3])
    files[3].write_bytes(files[3].read_bytes()[:-200])
    with pytest.raises(SystemExit, match=r"3\.png: expected a whole JPEG or PNG"):
        run("grpc", *files)


def test_the_place_is_that_of_the_greatest_attention():
    attention = np.zeros([2, 4, 4])
    attention[1, 1, 2:] = 1.0, 0.6
    axes = {"height": 8, "width": 8, "time": 2}
    centres = {name: {"start": (side - 1) / 2, "stride": side} for name, side in axes.items()}
    card = {"height": 32, "width": 32, "resize": "stretch", "map_centres": centres}
    assert serving_client.locate(attention, card, (64, 320)) == (2.5, [160, 16, 320, 32])
    card["resize"] = "short_side"  # scaled by a half, 64 pixels are cut on both sides
    assert serving_client.locate(attention, card, (64, 320)) == (2.5, [160, 16, 192, 32])
    card["resize"] = "whole"
    assert serving_client.locate(attention, card, (64, 320)) == (2.5, [32, 16, 64, 32])


def ask(address, signature, inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "aacf", signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(request, 60).outputs


PNG = tf.io.encode_png(np.zeros([24, 24, 3], np.uint8)).numpy()
MALFORMED = [
    ("serving_default", {"frames": [[PNG] * 12] * 2}, "Expected frames of shape [batch, 8]"),
    ("serving_default", {"frames": [[PNG] * 7 + [b"GIF89a"]]}, "a picture of another format"),
    ("serving_default", {"frames": [[PNG] * 7 + [PNG[:40]]]}, "PNG"),
    ("serving_default", {"clips": [[PNG] * 8]}, "Expected the inputs ['frames']"),
    ("serve_tensor", {"frames": np.zeros([1, 8, 24, 24, 3], np.float32)}, "expected uint8"),
    ("serve_tensor", {"frames": np.zeros([1, 9, 24, 24, 3], np.uint8)}, "received the shape"),
    ("serve_resized", {"frames": np.zeros([1, 8, 24, 24, 3], np.uint8)}, "[batch, 8, 48, 48, 3]"),
    ("serve_resized", {"frames": np.zeros([0, 8, 48, 48, 3], np.uint8)}, "none of them 0"),
    ("serve_examples", {"examples": [b"no record"]}, "Invalid protocol message"),
    ("serve_nothing", {"frames": [[PNG] * 8]}, "not found in signature def"),
]


@pytest.mark.parametrize("signature, inputs, reason", MALFORMED)
def test_malformed_requests_are_refused_with_a_reason(server, signature, inputs, reason):
    with pytest.raises(grpc.RpcError) as caught:
        ask(server["grpc"], signature, inputs)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in caught.value.details()


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"{", "Expecting"),
        (b'{"inputs": [1]}', "Expected an object of inputs"),
        (b'{"inputs": {"frames": [["AAAA"]]}}', "frames of shape [batch, 8]"),
        (b'{"inputs": {"frames": [[{"b64": "?"}]]}}', "frames: "),
        (b'{"signature_name": "serve_tensor", "inputs": {"frames": [[1, 2], [3]]}}', "frames: "),
    ],
)
def test_malformed_requests_by_rest_are_refused_with_a_reason(server, body, reason):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server['rest']}/v1/models/aacf:predict", body)
    assert caught.value.code == 400
    assert reason in json.load(caught.value)["error"]


def test_other_requests_are_unaffected_by_a_broken_one(server, signatures, frames):
    clips = [frames(height=48, width=48, batch=1, seed=seed) for seed in range(3)]
    broken = np.zeros([1, 3, 48, 48, 3], np.uint8)
    requests = [clips[0], broken, clips[1], broken, clips[2]]
    with ThreadPoolExecutor(len(requests)) as pool:
        calls = [
            pool.submit(ask, server["grpc"], "serve_tensor", {"frames": clip}) for clip in requests
        ]
    assert [call.exception() is None for call in calls] == [True, False, True, False, True]
    for clip, call in zip(clips, [calls[0], calls[2], calls[4]]):
        wanted = signatures["serve_tensor"](frames=clip)["probabilities"]
        found = tf.make_ndarray(call.result()["probabilities"])
        np.testing.assert_allclose(found, wanted, atol=1e-5)
