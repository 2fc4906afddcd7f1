"""How fast videos become records and records become batches, one core, against the bare libraries.

    python benchmarks/data.py                           clips drawn for the purpose
    python benchmarks/data.py --input=clips.csv         and the builder on your own videos
    python benchmarks/data.py --data=data/mine --output=data.json

The builder (decode, scale, encode, serialise, write, checksum) against PyAV and OpenCV alone on the
same frames: 0.90 is expected. The reader (JPEG frames of 128x171 to batches of uint8, clip and
conjugate) against libjpeg-turbo alone by simplejpeg, where that is installed (pip install
simplejpeg), on the same bytes: 0.70; and against the pipeline one would write first, which makes
floats before it batches: 1.8. Each round times every row once, one after the other, so that all see
the same state of the machine; a ratio is the median over the rounds. All run on one core, and what
counts is the time on the wall. Beside it stands the share of it that this process had the core: far
below 100 % on a machine that works for others too, whose figures are not worth noting.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence, Tuple

import numpy as np
from absl import flags

from tfrecords import commandline, dataset, shards, sources
from tfrecords.errors import UsageError
from tfrecords.files import write_json

BUILDER, BARE = "builder", "PyAV and JPEG alone"
READER, LIBJPEG, NAIVE = "reader", "simplejpeg", "float before the batch"
EXPECTED = {(BUILDER, BARE): 0.9, (READER, LIBJPEG): 0.7, (READER, NAIVE): 1.8}
QUALITY, SHORT_SIDE, BATCH = 95, 128, 8
PASSES = 4  # of the reader over its clips, a round


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    text, number = flags.DEFINE_string, flags.DEFINE_integer
    text("input", None, "csv of whole videos for the builder; else drawn, H.264 of 320x240.")
    text("data", None, "Data set directory for the reader; else drawn, 128x171, 4:4:4.")
    text("split", "train", "Of --data.")
    number("clips", 32, "Drawn, or at most read.", 1)
    number("frames", 32, "Of a drawn clip, and those of a clip of --data that are read.", 1)
    number("rounds", 7, "Of which the median counts.", 1)
    text("output", None, "File for all figures as JSON.")


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    if hasattr(os, "sched_setaffinity"):  # before TensorFlow counts the cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        table = options.input or draw_videos(Path(folder), options.clips, options.frames)
        results = {"builder": run_builder(str(table), Path(folder), options.clips, options.rounds)}
        print(f"\n{markdown('From videos to records', results['builder'])}", flush=True)
        data = options.data or draw_records(Path(folder) / "data", options.clips, options.frames)
        results["reader"] = run_reader(
            data, options.split, options.frames, options.clips, options.rounds
        )
        print(f"\n{markdown('From records to batches', results['reader'])}", flush=True)
    if options.output:
        write_json(Path(options.output), results)


def run_builder(table: str, folder: Path, clips: int, rounds: int) -> dict[str, Any]:
    """The builder beside its libraries on the videos of a table, whole files; see `compare`."""
    import av
    import cv2

    from tfrecords import video

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
    return compare({BUILDER: build, BARE: bare}, count, rounds)


def encode(image: np.ndarray, cv2: Any) -> bytes:
    """uint8 [H, W, 3] RGB -> JPEG as the records have it."""
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, *sampling]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def run_reader(
    directory: dataset.StrPath, split: str, frames: int, clips: int, rounds: int
) -> dict[str, Any]:
    """The reader beside libjpeg-turbo and a naive pipeline; frames of one size; see `compare`."""
    import tensorflow as tf

    from tfrecords import schema
    from tfrecords.reader import read_dataset

    info = dataset.load_info(directory)
    if info.frame_size is None:
        raise UsageError(f"--data: expected frames of one size, received {directory}.")
    paths = dataset.shard_paths(directory, info, split)
    size = tuple(info.frame_size)
    batches = -(-min(clips, info.splits[split]["clips"]) // BATCH)
    images: list[bytes] = []  # all that the reader decodes
    for serialized in tf.data.TFRecordDataset(paths).take(batches * BATCH).as_numpy_iterator():
        lists = tf.train.SequenceExample.FromString(serialized).feature_lists.feature_list
        for name in (schema.FRAMES, schema.CONJUGATE + schema.FRAMES):
            encoded = [item.bytes_list.value[0] for item in lists[name].feature]
            if 0 < len(encoded) != frames:
                raise UsageError(
                    f"--data: expected clips of --frames={frames} frames, received {len(encoded)}."
                )
            images += encoded
    reader = read_dataset(directory, split, frames, size, BATCH, training=False)

    def naive(serialized: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """What the reader gives, scaled to -1..1: each frame made a float and resized at once."""
        record = schema.parse(serialized, masks=False)

        def frame(image: tf.Tensor) -> tf.Tensor:
            pixels = tf.cast(tf.io.decode_jpeg(image, 3), tf.float32)
            return tf.image.resize(pixels, size, antialias=True) / 127.5 - 1.0

        clip, conjugate = (
            tf.map_fn(frame, record[name], fn_output_signature=tf.TensorSpec([*size, 3]))
            for name in schema.RGB_PAIR
        )
        return clip, conjugate

    floats = tf.data.TFRecordDataset(paths).map(naive, num_parallel_calls=tf.data.AUTOTUNE)
    floats = floats.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    candidates = {
        READER: _read(reader.take(batches), batches),
        NAIVE: _read(floats.take(batches), batches),
    }
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        def libjpeg() -> None:
            for image in images * PASSES:
                simplejpeg.decode_jpeg(image)

        candidates[LIBJPEG] = libjpeg
    return compare(candidates, len(images) * PASSES, rounds)


def compare(
    candidates: Mapping[str, Callable[[], Any]], images: int, rounds: int
) -> dict[str, Any]:
    """Times candidates in interleaved rounds; each handles `images` frames.

    Returns:
        rows: name -> milliseconds on the wall, one a round, frames a second (median) and the share
        of the time that this process had the core (median); ratios: of the pairs in `EXPECTED`:
        [name, other, median over the rounds of the speed's ratio, expected].
    """
    from benchmarks.timing import measure

    times = measure(candidates, rounds)
    rows = {
        name: {
            "milliseconds": [round(1000 * second, 3) for second in wall],
            "frames_per_second": images / statistics.median(wall),
            "core": statistics.median(own / whole for own, whole in zip(processor, wall)),
        }
        for name, (wall, processor) in times.items()
    }
    ratios = []
    for (name, other), expected in EXPECTED.items():
        if name in times and other in times:
            pairs = zip(times[name].wall, times[other].wall)
            ratios.append([name, other, statistics.median(b / a for a, b in pairs), expected])
    return {"frames": images, "rows": rows, "ratios": ratios}


def markdown(title: str, result: Mapping[str, Any]) -> str:
    """The figures of `compare` as a table, the ratios below."""
    lines = [
        f"**{title}**, {result['frames']} frames a round, one core\n",
        "| | ms a round: min / median / max | frames/s | had the core |",
        "|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        times = row["milliseconds"]
        spread = " / ".join(f"{f(times):.0f}" for f in (min, statistics.median, max))
        figures = f"{row['frames_per_second']:.0f} | {100 * row['core']:.0f} %"
        lines.append(f"| {name} | {spread} | {figures} |")
    lines.append("")
    for name, other, ratio, expected in result["ratios"]:
        lines.append(f"{name} / {other}: {ratio:.2f} (expected: at least {expected:g})")
    return "\n".join(lines)


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
    """A data set of pairs, JPEG frames of 128x171; its directory."""
    from tfrecords import ClipPair, schema, writer

    def examples() -> Any:
        for n in range(clips):
            drawn = draw_clip(n, 2 * frames, 128, 171)
            pair = ClipPair(str(n), drawn[:frames], drawn[frames:], ("drawn",))
            yield schema.encode(pair, {"drawn": 0}, "JPEG", QUALITY)

    writer.write_shard(directory / dataset.shard_name("train", 0, 1), examples())
    counts = {"shards": 1, "clips": clips, "pairs": clips, "negatives": 0, "skipped": 0}
    info = dataset.DatasetInfo("drawn", 25.0, [128, 171], ["drawn"], splits={"train": counts})
    writer.finish_dataset(directory, info)
    return directory


def _read(dataset: Any, batches: int) -> Callable[[], Any]:
    """Several passes up to the last batch; gives what must not end before the clock is read."""

    def read() -> list[Any]:
        # The end of an iterator is not what is asked for: on one core TensorFlow 2.15 often waits a
        # second there, idle, for its thread of statistics to look up. In training there is one end.
        passes = []
        for _ in range(PASSES):
            passes.append(iter(dataset))
            for _ in range(batches):
                next(passes[-1])
        return passes

    return read


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
