"""Measures how fast videos become records and records become batches, against the bare libraries.

    python benchmarks/data.py                           clips drawn for the purpose
    python benchmarks/data.py --input=clips.csv         and the builder on your own videos
    python benchmarks/data.py --data=data/mine --output=benchmarks/results/data

The builder (decode, scale, encode, serialise, write, checksum) against PyAV and OpenCV alone on the
same frames. The reader (JPEG frames of 128x171 to batches of uint8, clip and conjugate) against
libjpeg-turbo alone on the same bytes, by simplejpeg if that is installed (pip install simplejpeg);
against the pipeline one would write first, which makes floats before it batches; and against
TensorFlow's decoder with no pipeline around it, than which no reader can be faster. A second row of
libjpeg-turbo has the fast cosine transform, which TensorFlow takes, and the reader with it. One
core: the libraries use no more. Below `cores busy` 1.0 the machine worked for others too.
"""

from __future__ import annotations

import csv
import importlib.util
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Sequence, Tuple

import numpy as np
from absl import flags

from tfrecords import sources
from tfrecords.build import shards
from tfrecords.records import dataset
from tfrecords.utils import commandline
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.sheet import Sheet

BUILDER, BARE = "builder", "PyAV and JPEG alone"
READER, LIBJPEG, NAIVE = "reader", "simplejpeg", "float before the batch"
FAST, DECODER = "simplejpeg, fastdct", "TensorFlow's decoder alone"
# How many times as fast the first shall be as the second, at least.
EXPECTED = {
    (BUILDER, BARE): 0.9,
    (READER, LIBJPEG): 0.75,
    (READER, FAST): 0.7,
    (READER, DECODER): 0.85,
    (READER, NAIVE): 1.8,
}
QUALITY, SHORT_SIDE, BATCH = 95, 128, 8
COPIES = 8  # of a drawn clip: to start an iterator takes as long as 500 frames, and counts once


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    from benchmarks import sheet

    text, number = flags.DEFINE_string, flags.DEFINE_integer
    sheet.define_flags()
    text("input", None, "csv of whole videos for the builder; else drawn, H.264 of 320x240.")
    text("data", None, "Data set directory for the reader; else drawn, 128x171, 4:4:4.")
    text("split", "train", "Of --data.")
    number("clips", 32, "Drawn, or at most read.", 1)
    number("frames", 32, "Of a drawn clip, and those of a clip of --data that are read.", 1)


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from benchmarks import machine, sheet

    options = flags.FLAGS
    machine.hold(options.threads)
    print(sheet.machine_line(), flush=True)
    sheets = []
    with tempfile.TemporaryDirectory() as folder:
        table = options.input or draw_videos(Path(folder), options.clips, options.frames)
        data = options.data or draw_records(Path(folder) / "data", options.clips, options.frames)
        shared = {"clips": options.clips, "rounds": options.rounds, "threads": options.threads}
        sheets.append(run_builder(str(table), Path(folder), **shared))
        print(f"\n{sheet.markdown(sheets[-1])}", flush=True)
        sheets.append(run_reader(data, options.split, options.frames, **shared))
        print(f"\n{sheet.markdown(sheets[-1])}", flush=True)
    if options.output:
        sheet.write(options.output, sheets)


def run_builder(table: str, folder: Path, clips: int, rounds: int, threads: int = 1) -> Sheet:
    """Times the builder beside its libraries on the videos of a table, whole files."""
    import av
    import cv2

    from tfrecords.media import video

    shards.prepare_process()
    options = sources.SourceOptions(input=table, conjugate="none", short_side=SHORT_SIDE)
    source = sources.open_source("csv", options)
    rows = source.rows()[:clips]
    root = Path(table).resolve().parent
    shard = shards.Shard("train", 0, 1, rows)
    count = 0

    def build() -> None:
        outcomes = (shards.outcome(source, row, QUALITY) for row in rows)
        shards.write_one(folder / "built", shard, outcomes)

    def bare() -> None:
        nonlocal count
        count = 0
        for row in rows:
            with av.open(str(root / row.media)) as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_count = 1
                for frame in container.decode(stream):
                    image = frame.to_ndarray(format="rgb24")
                    size = video.scaled_size(*image.shape[:2], SHORT_SIDE)
                    encode(video.resize(image, size), cv2)
                    count += 1

    bare()
    return _compare("From videos to records", {BUILDER: build, BARE: bare}, count, rounds, threads)


def encode(image: np.ndarray, cv2: Any) -> bytes:
    """uint8 [H, W, 3] RGB -> JPEG as the records have it."""
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, *sampling]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def run_reader(
    directory: StrPath, split: str, frames: int, clips: int, rounds: int, threads: int = 1
) -> Sheet:
    """Times the reader beside libjpeg-turbo and a naive pipeline; frames of one size."""
    import tensorflow as tf

    from tfrecords.reading.clips import read_dataset
    from tfrecords.records import codec
    from tfrecords.records.names import CONJUGATE, FRAMES, RGB

    info = dataset.load_info(directory)
    if info.frame_size is None:
        raise UsageError(f"--data: expected frames of one size, received {directory}.")
    paths = dataset.shard_paths(directory, info, split)
    size = tuple(info.frame_size)
    batches = -(-min(clips * COPIES, info.splits[split]["clips"]) // BATCH)
    images: list[bytes] = []  # all that the reader decodes
    for serialized in tf.data.TFRecordDataset(paths).take(batches * BATCH).as_numpy_iterator():
        lists = tf.train.SequenceExample.FromString(serialized).feature_lists.feature_list
        for name in (FRAMES, CONJUGATE + FRAMES):
            encoded = [item.bytes_list.value[0] for item in lists[name].feature]
            if 0 < len(encoded) != frames:
                raise UsageError(
                    f"--data: expected clips of --frames={frames} frames, received {len(encoded)}."
                )
            images += encoded
    reader = read_dataset(directory, split, frames, size, BATCH, training=False)

    def naive(serialized: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Reads the same batches scaled to -1..1: each frame made a float and resized at once."""
        record = codec.parse(serialized, masks=False)

        def frame(image: tf.Tensor) -> tf.Tensor:
            pixels = tf.cast(tf.io.decode_jpeg(image, 3), tf.float32)
            return tf.image.resize(pixels, size, antialias=True) / 127.5 - 1.0

        clip, conjugate = (
            tf.map_fn(frame, record[name], fn_output_signature=tf.TensorSpec([*size, 3]))
            for name in RGB.pair
        )
        return clip, conjugate

    floats = tf.data.TFRecordDataset(paths).map(naive, num_parallel_calls=tf.data.AUTOTUNE)
    floats = floats.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    encoded_clips = tf.unstack(tf.reshape(tf.constant(images), [-1, frames]))

    @tf.function
    def decode(encoded: tf.Tensor) -> tf.Tensor:
        decoded = [tf.io.decode_jpeg(image, 3) for image in tf.unstack(encoded)]
        return tf.add_n([tf.size(image) for image in decoded])  # asked for, it cannot be left out

    def decoder() -> None:
        for encoded in encoded_clips:
            decode(encoded)

    candidates = {
        READER: _read(reader.take(batches), batches),
        NAIVE: _read(floats.take(batches), batches),
        DECODER: decoder,
    }
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        def libjpeg(fastdct: bool) -> None:
            for image in images:
                simplejpeg.decode_jpeg(image, fastdct=fastdct)

        candidates[LIBJPEG] = lambda: libjpeg(False)
        candidates[FAST] = lambda: libjpeg(True)
    return _compare("From records to batches", candidates, len(images), rounds, threads)


def _compare(
    title: str, calls: dict[str, Callable[[], Any]], frames: int, rounds: int, threads: int
) -> Sheet:
    """Times calls each of which handles `frames` frames."""
    from benchmarks import sheet

    result = sheet.measure(
        title,
        {name: sheet.Candidate(lambda call=call: call) for name, call in calls.items()},
        rounds=rounds,
        threads=threads,
        settings={"frames a round": frames},
        wanted=EXPECTED,
    )
    rates = {n: frames * 1000 / statistics.median(r.milliseconds) for n, r in result.rows.items()}
    listed = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    result.notes.append(f"Frames a second: {listed}.")
    return result


def draw_clip(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    """uint8 [T, H, W, 3], a pan over texture; as JPEG as many bytes as J-HMDB."""
    import cv2

    rng = np.random.default_rng(seed)
    wide = np.zeros((height + frames, width + 2 * frames, 3), np.float32)
    for step, strength in ((48, 70), (12, 25), (4, 7)):
        coarse = rng.normal(0, strength, (wide.shape[0] // step + 2, wide.shape[1] // step + 2, 3))
        wide += cv2.resize(coarse, wide.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    clip = np.stack([wide[t : t + height, 2 * t : 2 * t + width] for t in range(frames)])
    return np.clip(clip + 128 + rng.normal(0, 1, clip.shape), 0, 255).astype(np.uint8)


def draw_videos(folder: Path, clips: int, frames: int) -> Path:
    """H.264 files of 320x240 and their table; its path."""
    import av

    table = folder / "clips.csv"
    rows = [("video", "label")]
    for n in range(clips):
        rows.append((f"{n}.mp4", "drawn"))
        with av.open(str(folder / f"{n}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for image in draw_clip(n, frames, 240, 320):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return table


def draw_records(directory: Path, clips: int, frames: int) -> Path:
    """A data set of pairs, JPEG frames of 128x171, each `COPIES` times; its directory."""
    from tfrecords import ClipPair
    from tfrecords.records import codec, writer

    def examples() -> Any:
        for n in range(clips):
            drawn = draw_clip(n, 2 * frames, 128, 171)
            pair = ClipPair(str(n), drawn[:frames], drawn[frames:], ("drawn",))
            yield from COPIES * [codec.encode(pair, {"drawn": 0}, "JPEG", QUALITY)]

    writer.write_shard(directory / dataset.shard_name("train", 0, 1), examples())
    clips *= COPIES
    counts = {"shards": 1, "clips": clips, "pairs": clips, "negatives": 0, "skipped": 0}
    info = dataset.DatasetInfo("drawn", 25.0, [128, 171], ["drawn"], splits={"train": counts})
    writer.finish_dataset(directory, info)
    return directory


def _read(dataset: Any, batches: int) -> Callable[[], Any]:
    """Reads up to the last batch; gives what must not end before the clock is read."""

    def read() -> Any:
        # The end of an iterator is not what is asked for: on one core TensorFlow 2.15 often waits a
        # second there, idle, for its thread of statistics to look up. In training there is one end.
        iterator = iter(dataset)
        for _ in range(batches):
            next(iterator)
        return iterator

    return read


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
