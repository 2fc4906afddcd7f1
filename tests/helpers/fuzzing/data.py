"""Surfaces of data: tables, json files, records, shards."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import zlib
from pathlib import Path
from typing import Any, Iterator

import numpy as np
from fuzzing.surface import Reader, Surface

from tfrecords.utils.errors import UserError

LABELS = ["run", "walk"]
SHARD = "train-00000-of-00001.tfrecord"


def make_pairs(count: int = 2) -> list[Any]:
    """Pairs of 4 frames of 12 x 16 pixels with masks and optical flow."""
    from tfrecords import ClipPair

    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (count, 4, 12, 16, 3), np.uint8)
    flow = np.full((4, 12, 16, 2), 128, np.uint8)
    return [
        ClipPair(
            *(f"clip{n}", clip, clip[::-1].copy(), (LABELS[n % 2],), 10.0),
            mask=clip[..., 0] > 127,
            media_id=f"videos/{n}.mp4",
            flow=flow,
            conjugate_flow=flow,
        )
        for n, clip in enumerate(clips)
    ]


# ---- tables --------------------------------------------------------------------------------------


def _make_tables(folder: Path) -> None:
    (folder / "clips.csv").write_bytes(
        "video,label,start,end,split,conjugate_video,conjugate_start,conjugate_end,mask\n"
        'v/a.mp4,run,0.5,2,train,v/a.mp4,3,4.5,m/a.npz\n"v/b, c.mp4",walk|run,,,test,,,,\n'
        "v/ä.mp4,,1,,validation,,2,,\n".encode()
    )
    (folder / "synonyms.csv").write_bytes(
        b'\xef\xbb\xbfFile, Class Name ,Start (s),subset,note\r\n"a\nb.mp4",run,1,train,x\r\n'
        b"c.mp4,walk,2.5,test,\r\n"
    )
    (folder / "image.xml").write_bytes(
        b"<annotation><size><width>64</width><height>48</height></size><object><name>person</name>"
        b"<actions><running>1</running></actions><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30"
        b"</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )
    (folder / "labels.txt").write_bytes("run\nwalk\ncafé\n".encode())
    (folder / "tracks.xml").write_bytes(
        b"<annotations><meta><task><id>1</id><source>a.mp4</source></task></meta><track id='0' "
        b"label='run'><box frame='1' outside='0'><attribute name='who'>ann</attribute></box>"
        b"<box frame='9' outside='1'/></track></annotations>"
    )
    (folder / "marks.eaf").write_bytes(
        b"<ANNOTATION_DOCUMENT><HEADER><MEDIA_DESCRIPTOR MEDIA_URL='file:///a.mp4'/></HEADER>"
        b"<TIME_ORDER><TIME_SLOT TIME_SLOT_ID='1' TIME_VALUE='500'/><TIME_SLOT TIME_SLOT_ID='2' "
        b"TIME_VALUE='900'/></TIME_ORDER><TIER TIER_ID='t'><ANNOTATION><ALIGNABLE_ANNOTATION "
        b"ANNOTATION_ID='a' TIME_SLOT_REF1='1' TIME_SLOT_REF2='2'><ANNOTATION_VALUE>run"
        b"</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
    )
    value = {"ranges": [{"start": 1, "end": 9}], "timelinelabels": ["run"]}
    result = [{"type": "timelinelabels", "from_name": "t", "value": value}]
    tasks = [{"data": {"video": "a.mp4"}, "annotations": [{"result": result}]}]
    (folder / "studio.json").write_text(json.dumps(tasks))
    project = {"attribute": {"1": {"aname": "t"}}, "file": {"1": {"fname": "a.mp4"}}}
    segment = {"vid": "1", "z": [1, 2.5], "av": {"1": "run"}}
    project.update(view={"1": {"fid_list": [1]}}, metadata={"1_a": segment})
    (folder / "via.json").write_text(json.dumps(project))


def _open_tables(seeds: Path, folder: Path) -> Reader:
    from tfrecords.build.checks import class_warnings, warnings
    from tfrecords.records.dataset import load_labels
    from tfrecords.sources import SourceOptions, open_source
    from tfrecords.sources.csv import CsvSource
    from tfrecords.sources.published.voc2012_action import read_annotation

    tools = {"tracks": "cvat", "marks": "elan", "studio": "label_studio", "via": "via"}

    def read(path: Path) -> Any:
        if path.stem in tools:
            opened = open_source(tools[path.stem], SourceOptions(input=str(path), frames_fps=9.0))
            return opened.fingerprint(), "\n".join(opened.remarks).encode()
        if path.suffix == ".xml":
            return read_annotation(str(path))
        if path.suffix == ".txt":
            return load_labels(path)
        source = CsvSource(SourceOptions(input=str(path), multi_label=True))
        said = (*warnings(source), *class_warnings(source), *source.remarks)
        return source.fingerprint(), "\n".join(said).encode()  # it can be printed

    return read


# ---- records and shards --------------------------------------------------------------------------


def _write_set(folder: Path, pairs: list[Any], **changes: Any) -> Any:
    from tfrecords import write_dataset

    return write_dataset(
        folder, {"train": [dataclasses.replace(p, **changes) for p in pairs]}, LABELS, num_shards=1
    )


def _write_features(folder: Path, record: bytes) -> bytes:
    """Writes a directory of cached features with one record; returns it."""
    from tfrecords.records.dataset import DatasetInfo
    from tfrecords.records.feature_codec import FeatureInfo, encode_features
    from tfrecords.records.writer import finish_dataset, write_shard

    maps = [np.arange(24, dtype=np.float16).reshape(1, 2, 3, 4) + n for n in range(2)]
    encoded = encode_features(record, "end", maps, maps, np.ones((4, 2, 3), np.uint8))
    manifest = {SHARD: write_shard(folder / SHARD, [encoded])}
    counts = {"train": {"shards": 1, "clips": 1, "pairs": 1, "negatives": 0, "skipped": 0}}
    info = DatasetInfo("python", 10.0, [12, 16], LABELS, splits=counts, modality="features")
    features = FeatureInfo("end", 2, True, {"train": [1, 2, 3, 4]}, [4, 2, 3], {"backbone": "x"})
    features.write(folder)
    finish_dataset(folder, info, manifest=manifest)
    return encoded


def _make_records(folder: Path) -> None:
    from tfrecords.records import codec

    ids = {label: n for n, label in enumerate(LABELS)}
    (pair,) = make_pairs(1)
    still = dataclasses.replace(
        pair, flow=None, conjugate_flow=None, mask=None, conjugate=None, clip=pair.clip[:1]
    )
    sets = {
        "png": dataclasses.replace(pair, flow=None, conjugate_flow=None),
        "jpeg": dataclasses.replace(pair, flow=None, conjugate_flow=None, mask=None),
        "flow": pair,
        "still": dataclasses.replace(still, boxes=np.array([[0.1, 0.2, 0.5, 1.0]], np.float32)),
    }
    for name, clip in sets.items():
        _write_set(folder / name, [clip])
        data = codec.encode(clip, ids, "JPEG" if name == "jpeg" else "PNG")
        (folder / f"{name}.record").write_bytes(data)
    whole = codec.encode(pair, ids, "PNG")
    (folder / "features.record").write_bytes(_write_features(folder / "features", whole))


def _open_records(seeds: Path, folder: Path) -> Reader:
    import tensorflow as tf

    readers = {}
    for path in seeds.glob("*.record"):
        shutil.copytree(seeds / path.stem, folder / path.stem)
        (folder / path.stem / "manifest.json").unlink()
        readers[path.stem] = open_set(folder / path.stem)

    def read(path: Path) -> Any:
        with tf.io.TFRecordWriter(str(folder / path.stem / SHARD)) as writer:
            writer.write(path.read_bytes())
        return readers[path.stem]()

    return read


def open_set(directory: Path) -> Any:
    """Returns a function that verifies, reads and describes a data set, whatever it holds by then.

    Its error is that of the verification, which must find whatever the reader refuses. One input
    in eight goes through the whole reader, whose start takes ten times as long as its phases.
    """
    import tensorflow as tf

    from tfrecords.reading import phases
    from tfrecords.reading.clips import read_dataset
    from tfrecords.reading.corruption import translate_errors
    from tfrecords.reading.features import read_features
    from tfrecords.reading.options import ClipSpec
    from tfrecords.records.dataset import load_info, shard_paths
    from tfrecords.show.contact_sheet import write_pairs
    from tfrecords.show.describe import describe
    from tfrecords.show.verify import verify

    # tf.data runs its functions unoptimized, too; to optimize them would take as long as to read.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    cached = load_info(directory).modality == "features"
    kind = "two_stream" if load_info(directory).modality == "rgb+flow" else "rgb"
    spec = ClipSpec(4, (12, 16), modality=kind, masks=True)
    records = tf.data.TFRecordDataset(str(directory / SHARD))
    batches: Any
    if cached:
        batches = read_features(directory, "train", training=False, masks=True)
    else:
        batches = read_dataset(directory, "train", 4, (12, 16), 2, False, modality=kind, masks=True)

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def read_one(serialized: tf.Tensor) -> Any:
        record = phases.sample(phases.parse(serialized, spec), spec, None)
        record = phases.complete(phases.decode(record, spec), spec, None)
        return phases.augment(record, spec, None, None)

    def read() -> list[Any]:
        refused, rare = None, zlib.crc32((directory / SHARD).read_bytes()) % 8 == 0
        try:
            verify(directory)
        except UserError as error:
            refused = error
        with _after(refused), translate_errors(directory):
            shard_paths(directory, load_info(directory), "train")  # as the reader does
            if cached or rare:
                list(batches.as_numpy_iterator())
            found = []
            for record in () if cached else records:
                found += [value.numpy() for value in read_one(record).values()]
        if rare:
            with _after(refused):
                describe(str(directory)).encode()  # it can be printed
                if not cached:
                    write_pairs(str(directory), str(directory / "sheet.png"), count=2)
        if refused:
            raise refused
        return found

    return read


@contextlib.contextmanager
def _after(refused: Exception | None) -> Iterator[None]:
    """Lets a refusal pass if the verification has refused, too."""
    try:
        yield
    except UserError as error:
        if refused is None and "has no clip with a conjugate" not in str(error):
            raise AssertionError(f"`show --verify` accepts what is refused: {error}") from error


def _make_shards(folder: Path) -> None:
    _write_set(folder / "set", make_pairs(), flow=None, conjugate_flow=None)
    shutil.copy(folder / "set" / SHARD, folder)


def _open_shards(seeds: Path, folder: Path) -> Reader:
    shutil.copytree(seeds / "set", folder / "set")
    read_set = open_set(folder / "set")
    whole = (seeds / SHARD).read_bytes()
    expected = read_set()

    def read(path: Path) -> Any:
        shutil.copy(path, folder / "set" / SHARD)
        found = read_set()
        same = len(found) == len(expected) and all(map(np.array_equal, found, expected))
        assert same and path.read_bytes() == whole, "another shard passes for the one written"

    return read


# ---- json ----------------------------------------------------------------------------------------


def make_json(folder: Path) -> None:
    """Writes every json file of the project into a folder, and what they describe beside them."""
    from aacf_tf import recipes
    from aacf_tf.serving.card import ModelCard
    from tfrecords.records import codec
    from tfrecords.utils.atomic import write_json

    pairs = make_pairs()
    _write_set(folder / "set", pairs, flow=None, conjugate_flow=None)
    _write_features(folder / "cached", codec.encode(pairs[0], {"run": 0, "walk": 1}, "PNG"))
    shutil.copy(folder / "set" / "dataset.json", folder)
    shutil.copy(folder / "set" / "manifest.json", folder)
    shutil.copy(folder / "cached" / "features.json", folder)
    axes = {name: {"start": 1.5, "stride": 2, "size": 2} for name in ("time", "height", "width")}
    card = ModelCard(
        *("demo", "small", "aacf", 4, 24, 24, 0.0, "stretch", [2, 8, 8], "combined", False, True),
        map_centres=axes,
        digest="abc",
    )
    scores = {"top1": 0.5, "top5": 1.0, "mean_ap": None, "voc_ap": None, "per_class_ap": {"run": 1}}
    split = {"clips": 2, "combined": scores, "localization": {"action_mass": 0.5}}
    metrics = {"recipe": "demo", "head": "aacf", "labels": LABELS, "splits": {"test": split}}
    history = [{"epoch": n, "loss": 1.0 / n, "val_accuracy": 0.5} for n in (1, 2, 3)]
    recipe = recipes.to_dict(recipes.load_recipe("hollywood2"))
    data = {"directory": "data/mine", "digest": "abc"}
    plan = {"schema_version": 1, "source": "csv", "labels": LABELS, "input_digest": "abc"}
    spans = [{"label": "run", "segment": [0.5, 2.0]}]
    segments = {"database": {"abc": {"subset": "training", "annotations": spans}}}
    for name, content in {
        "segments": segments,
        "model": dataclasses.asdict(card),
        "metrics": metrics,
        "history": history,
        "config": {"recipe": recipe, "plan": [], "data": data},
        "build": plan,
    }.items():
        write_json(folder / f"{name}.json", content)


def json_readers(folder: Path) -> dict[str, Reader]:
    """Returns the reader of each json file; `folder` holds a copy of what `make_json` wrote."""
    from aacf_tf.evaluation.metrics import read_metrics
    from aacf_tf.recipes import load_recipe, to_dict
    from aacf_tf.report import tables
    from aacf_tf.runs.directory import read_config, read_history
    from aacf_tf.serving.card import ModelCard
    from aacf_tf.training.history import to_csv
    from aacf_tf.visualization import curves
    from tfrecords.build import plan
    from tfrecords.reading.corruption import translate_errors
    from tfrecords.reading.features import read_features
    from tfrecords.records import dataset
    from tfrecords.show.describe import describe
    from tfrecords.show.verify import verify
    from tfrecords.sources.published.hacs_tables import read_segments

    def read_info(path: Path) -> None:
        info = dataset.load_info(path.parent)
        for split in info.filled_splits:
            dataset.shard_paths(path.parent, info, split)
        describe(str(path.parent)).encode()

    def read_card(path: Path) -> None:
        card = ModelCard.read(path)
        assert len(card.axes()) == 3 and all(len(axis) == 3 for axis in card.axes())

    def read_recipe(path: Path) -> None:
        read_config(path)
        to_dict(load_recipe(str(path)))

    def read_cached(path: Path) -> None:
        with translate_errors(path.parent):
            list(read_features(path.parent, "train", 1, training=False))

    def read_spans(path: Path) -> None:
        assert all(isinstance(x, str) for span in read_segments(str(path)) for x in span[:3])

    def read_scores(path: Path) -> None:
        metrics: Any = read_metrics(path.parent)
        for table in (tables.score_table, tables.map_table, tables.class_tables):
            table(metrics, metrics)
        tables.measures(metrics)

    def read_curve(path: Path) -> None:
        history = read_history(path)
        to_csv(history)
        if history and zlib.crc32(path.read_bytes()) % 8 == 0:
            curves.plot(history)

    homes = {"dataset": "set", "manifest": "set", "build": "set", "features": "cached"}
    readers: dict[str, Reader] = {
        "dataset": read_info,
        "manifest": lambda path: verify(path.parent),
        "build": lambda path: plan.load(path.parent),
        "features": read_cached,
        "model": read_card,
        "config": read_recipe,
        "metrics": read_scores,
        "segments": read_spans,
        "history": read_curve,
    }

    def at_home(name: str, reader: Reader) -> Reader:
        home = folder / homes.get(name, "run") / f"{name}.json"

        def read(path: Path) -> None:
            home.parent.mkdir(exist_ok=True)
            before = home.read_bytes() if home.is_file() else None
            shutil.copy(path, home)
            try:
                reader(home)
            finally:
                home.unlink()
                if before is not None:
                    home.write_bytes(before)

        return read

    return {f"{name}.json": at_home(name, reader) for name, reader in readers.items()}


def _open_json(seeds: Path, folder: Path) -> Reader:
    for name in ("set", "cached"):
        shutil.copytree(seeds / name, folder / name)
    readers = json_readers(folder)
    return lambda path: readers[path.name](path)


TABLES = Surface(_make_tables, _open_tables)
RECORDS = Surface(_make_records, _open_records)
SHARDS = Surface(_make_shards, _open_shards)
JSON = Surface(make_json, _open_json)
