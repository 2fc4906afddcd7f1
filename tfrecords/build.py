"""Builds a data set directory from a source.

    python -m tfrecords.build --source=csv --input=clips.csv --output=data/mine

Rows are decoded on all cores and written in the order of the input: shard i of n holds the rows
i, i + n, ... of its split. A build that was stopped, however hard, continues where it was when the
same command is given again; the result is the same, byte for byte.

    DIR/build.json       the plan: options and input; a directory is built by one plan only
    DIR/.build/*.json    counts of every finished shard, while the build is under way
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Iterator, Optional, Sequence, Union

from absl import flags
from tqdm import tqdm

from tfrecords import commandline, dataset, files, sources
from tfrecords.dataset import PLAN_FILE
from tfrecords.errors import UsageError, UserError
from tfrecords.progress import progress

if TYPE_CHECKING:
    from tfrecords.sources import Record, Row, Source

ROWS_PER_SHARD = 128
BUILDER_VERSION = 1  # raise it when records built from the same input change
PROGRESS = ".build"

_OUTCOME = Union["Record", str]  # of a row: its record, or why it was left out


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags; in a function, since every command has its own `--output`."""
    names = ", ".join
    text = partial(flags.DEFINE_string, flag_values=values)
    integer = partial(flags.DEFINE_integer, flag_values=values)
    real = partial(flags.DEFINE_float, flag_values=values)
    switch = partial(flags.DEFINE_bool, flag_values=values)
    text("source", "csv", f"Where the clips come from: {names(sources.SOURCES)}.")
    text("input", None, "The csv file, or the folder of the source.")
    text("output", None, "The data set directory to write.")
    text("labels", None, "File with one class a line; else the sorted union of the labels.")
    switch("multi_label", False, "Whether a clip may have several labels (a|b in the csv).")
    text(
        "conjugate",
        None,
        f"Where conjugates come from: {names(sources.CONJUGATES)}. Default for csv: given where it "
        "has the column conjugate_video, else before_after; for jhmdb and voc2012_action: "
        "remove_person; for actionthread: before_after; for hollywood2: frozen_frame; for hacs: "
        "negative_clip.",
    )
    real("margin", 0.5, "Seconds between a clip and its conjugate before or after it.")
    text(
        "conjugate_rank",
        "longer",
        "Which span before_after takes: on the longer free side, or alike: most like the clip's "
        "own background.",
    )
    real("fps", None, "Frames a second stored; else each file's own; for hacs 16.")
    integer(
        "short_side",
        None,
        "Shorter side of frames in pixels, never enlarged; 0: as it is. Default 128; for "
        "voc2012_action 256.",
    )
    integer("quality", 95, "JPEG quality, 1 to 100.")
    text("flow", "none", f"Optical flow stored beside the frames: {names(sources.FLOWS)}.")
    integer("num_shards", 0, f"Files a split; 0: one for each {ROWS_PER_SHARD} rows.")
    integer("workers", 0, "Rows decoded at a time; 0: as many as there are cores.")
    switch("strict", False, "End with exit code 1 if a row could not be read.")
    text("data_root", None, "Folder the csv's paths may lie in; else the csv's own.")
    text("classes", None, "A part of the classes of hacs: a,b,c or a file with one a line.")
    return values


def build(
    source: Source, output: str, *, plan: dict, quality: int, num_shards: int, workers: int
) -> dataset.DatasetInfo:
    """Builds a data set directory, or what is still missing of it.

    Args:
        source: of the rows.
        output: the directory.
        plan: everything the bytes depend on; a directory built by another plan is refused.
        quality: of JPEG frames.
        num_shards: files a split; 0: one for each `ROWS_PER_SHARD` rows.
        workers: rows decoded at a time.

    Raises:
        UsageError: the directory holds something else.
        UserError: not one row could be read.
    """
    directory = Path(output)
    _refuse_other(directory, plan)
    if (directory / dataset.INFO_FILE).is_file():
        shutil.rmtree(directory / PROGRESS, ignore_errors=True)
        print(f"{output} is finished already; nothing to do.")
        return dataset.load_info(directory)
    splits: dict[str, list[Row]] = {}
    for row in source.rows():
        splits.setdefault(row.split, []).append(row)
    shards = []  # (split, index, count, rows)
    for split, rows in splits.items():
        count = num_shards or -(-len(rows) // ROWS_PER_SHARD)
        shards += [(split, index, count, rows[index::count]) for index in range(count)]

    with _alone(directory):
        _claim(directory, plan)
        _write_missing(source, directory, shards, quality, workers)
        return _finish(source, directory, shards)


def _refuse_other(directory: Path, plan: dict) -> None:
    """UsageError where the directory holds what this plan did not put there."""
    found = _found_plan(directory)
    if found is None:
        # A build killed before it noted its plan leaves these.
        remains = {directory / PROGRESS, directory / f"{PLAN_FILE}.tmp"}
        if directory.exists() and (not directory.is_dir() or set(directory.iterdir()) - remains):
            raise UsageError(
                f"Expected --output to be a new or empty directory, received {directory}."
            )
        return
    key = _change(found, plan)
    if key and _has_content(directory):
        reasons = {
            "builder_version": "by another version of this command",
            "input_digest": "from other rows or files",
        }
        what = reasons.get(key, f"with {key} {found.get(key)!r}, not {plan.get(key)!r}")
        raise UsageError(
            f"{directory} was built {what}: name another --output, or delete that directory."
        )


def _claim(directory: Path, plan: dict) -> None:
    """Notes the plan; clears away what a build by another plan left that came to nothing."""
    _refuse_other(directory, plan)  # once more: another build may have ended meanwhile
    found = _found_plan(directory)
    if found is None or _change(found, plan):
        _clear(directory)
        files.write_json(directory / PLAN_FILE, plan)


def _found_plan(directory: Path) -> Optional[dict]:
    path = directory / PLAN_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise UserError(f"{path} is corrupt: {error}.") from error
    return found


def _change(found: dict, plan: dict) -> Optional[str]:
    """The first entry of one plan that is another in the other, or is not there."""
    return next((key for key in {**plan, **found} if found.get(key) != plan.get(key)), None)


def _has_content(directory: Path) -> bool:
    """Whether anything was built that a user might miss."""
    shards = dataset.all_shards(directory)
    return (directory / dataset.INFO_FILE).is_file() or any(path.stat().st_size for path in shards)


def _clear(directory: Path) -> None:
    """Removes a plan and what was built by it; the lock stays."""
    halves = directory.glob("*.tfrecord.tmp")
    notes = (directory / PROGRESS).glob("*.json")
    for path in [directory / PLAN_FILE, *dataset.all_shards(directory), *halves, *notes]:
        path.unlink(missing_ok=True)


def _write_missing(
    source: Source, directory: Path, shards: list, quality: int, workers: int
) -> None:
    """Writes every shard that is not there yet, in order, decoding rows ahead."""
    import cv2

    from tfrecords import writer

    missing = []
    for split, index, count, rows in shards:
        name = dataset.shard_name(split, index, count)
        if not ((directory / name).is_file() and _notes(directory, name).is_file()):
            missing.append((name, rows))
    total = sum(len(rows) for *_, rows in shards)
    todo = [row for _, rows in missing for row in rows]
    cv2.setNumThreads(1)  # rows run side by side already
    pool = ThreadPoolExecutor(workers)
    with progress(total=total, initial=total - len(todo), unit="clip", desc=directory.name) as bar:
        try:
            outcomes = _in_order(pool, source, todo, quality, ahead=2 * workers)
            for name, rows in missing:
                notes = {
                    "clips": 0,
                    "pairs": 0,
                    "negatives": 0,
                    "fps": [],
                    "sizes": [],
                    "skipped": [],
                }
                records = _records(outcomes, rows, notes, bar)
                notes["clips"] = writer.write_shard(directory / name, records)
                # After the shard: a shard without its notes is written again.
                files.write_json(_notes(directory, name), notes)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keeps a second build out of a directory; the lock ends with the process, in any way."""
    (directory / PROGRESS).mkdir(parents=True, exist_ok=True)
    with open(directory / PROGRESS / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"Another build is writing into {directory}.") from error
        yield


def _in_order(
    pool: ThreadPoolExecutor, source: Source, rows: Iterable[Row], quality: int, ahead: int
) -> Iterator[_OUTCOME]:
    """What becomes of each row, in the order of the rows; at most `ahead` are held in memory."""
    waiting: deque = deque()
    for row in rows:
        waiting.append(pool.submit(_outcome, source, row, quality))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _outcome(source: Source, row: Row, quality: int) -> _OUTCOME:
    import av
    import cv2

    from tfrecords.video import UnreadableError

    try:
        return sources.record_bytes(source, row, quality)
    except UnreadableError as error:
        return error.reason
    except (av.FFmpegError, cv2.error, ValueError) as error:
        # Of a file so odd that nothing foresaw it: the other rows are still worth building.
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        return f"{kind}: {' '.join(str(error).split())}"


def _records(
    outcomes: Iterator[_OUTCOME], rows: list[Row], notes: dict, bar: tqdm
) -> Iterator[bytes]:
    """Records of one shard; notes what they are and which rows were left out."""
    for row in rows:
        outcome = next(outcomes)
        bar.update()
        if isinstance(outcome, str):
            notes["skipped"].append([row.line, row.media, outcome])
            continue
        notes["pairs"] += outcome.paired
        notes["negatives"] += outcome.negative
        for key, value in (("fps", outcome.fps), ("sizes", list(outcome.size))):
            if value not in notes[key]:
                notes[key].append(value)
        yield outcome.data


def _finish(source: Source, directory: Path, shards: list) -> dataset.DatasetInfo:
    """Sums the shards' notes up and writes what makes the directory complete."""
    from tfrecords import writer

    splits: dict[str, dict[str, int]] = {}
    rates, sizes, skipped = set(), set(), []
    for split, index, count, _ in shards:
        path = _notes(directory, dataset.shard_name(split, index, count))
        notes = json.loads(path.read_text(encoding="utf-8"))
        empty = {"shards": count, "clips": 0, "pairs": 0, "negatives": 0, "skipped": 0}
        counts = splits.setdefault(split, empty)
        for key in ("clips", "pairs", "negatives"):
            counts[key] += notes[key]
        counts["skipped"] += len(notes["skipped"])
        rates.update(notes["fps"])
        sizes.update(map(tuple, notes["sizes"]))
        skipped += notes["skipped"]
    skipped = [(file, reason) for _, file, reason in sorted(skipped)]
    if not any(counts["clips"] for counts in splits.values()):
        _clear(directory)  # the next try begins anew, with this input or another
        shutil.rmtree(directory / PROGRESS)
        raise UserError(
            f"Not one of {len(skipped)} rows could be read; the first: "
            f"{skipped[0][0]}: {skipped[0][1]}."
        )
    info = dataset.DatasetInfo(
        source=source.name,
        fps=rates.pop() if len(rates) == 1 else None,
        frame_size=list(sizes.pop()) if len(sizes) == 1 else None,
        labels=source.labels,
        multi_label=source.multi_label,
        splits=splits,
        modality="rgb" if source.flow == "none" else "rgb+flow",
    )
    writer.finish_dataset(directory, info, skipped)
    shutil.rmtree(directory / PROGRESS)
    return info


def _notes(directory: Path, shard: str) -> Path:
    return directory / PROGRESS / f"{shard}.json"


def summary(info: dataset.DatasetInfo, output: str, conjugate: str) -> str:
    """What was built, for the terminal."""
    keys = ("clips", "pairs", "skipped")
    total = {key: sum(counts[key] for counts in info.splits.values()) for key in keys}
    lines = [
        f"{output}: {total['clips']} clips of {len(info.labels)} classes, {total['pairs']} with a "
        f"conjugate ({conjugate}), {total['skipped']} rows skipped"
    ]
    for name, counts in info.splits.items():
        lines.append(
            f"  {name:<12} {counts['clips']:>6} clips {counts['pairs']:>6} pairs "
            f"{counts['skipped']:>4} skipped {counts['shards']:>4} shards"
        )
    if total["skipped"]:
        lines.append(f"  files and reasons: {Path(output) / dataset.SKIPPED_FILE}")
    if not total["pairs"] and conjugate != "none":
        lines.append(
            f"  No clip has a conjugate: {conjugate} found none. See --conjugate in --help."
        )
    return "\n".join(lines)


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """The command; see the module's docstring."""
    _check(arguments, values)
    options = sources.SourceOptions(
        **{name: getattr(values, name) for name in sources.SourceOptions.__dataclass_fields__}
    )
    start = time.monotonic()
    source = sources.open_source(values.source, options)
    for remark in source.remarks:
        print(remark)
    plan = {
        "schema_version": dataset.SCHEMA_VERSION,
        "builder_version": BUILDER_VERSION,
        "source": source.name,
        "conjugate": source.conjugate,
        "margin": values.margin,
        "fps": values.fps,
        "short_side": source.short_side,
        "quality": values.quality,
        "num_shards": values.num_shards,
        "multi_label": source.multi_label,
        "labels": source.labels,
        "input_digest": source.fingerprint(),
    }
    if source.flow != "none":
        plan["flow"] = source.flow
    if values.conjugate_rank != "longer":
        plan["conjugate_rank"] = values.conjugate_rank
    info = build(
        source,
        values.output,
        plan=plan,
        quality=values.quality,
        num_shards=values.num_shards,
        workers=values.workers or os.cpu_count() or 1,
    )
    print(summary(info, values.output, source.conjugate))
    seconds = time.monotonic() - start
    print(f"  {seconds:.0f} s. Look into it: python -m tfrecords.show {values.output}")
    skipped = sum(counts["skipped"] for counts in info.splits.values())
    if values.strict and skipped:
        raise UserError(
            f"{skipped} rows could not be read (--strict); {values.output}/skipped.csv names them."
        )


def _check(arguments: Sequence[str], values: flags.FlagValues) -> None:
    """Refuses values that no build can use."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    if not values.output:
        raise UsageError("Expected --output to name the directory to write, received none.")
    for name in ("input", "output", "labels", "data_root"):
        if "://" in (getattr(values, name) or ""):
            raise UsageError(
                f"Expected --{name} to be a path on this machine (others: in a later version), "
                f"received {getattr(values, name)}."
            )
    limits = {
        "margin": (0, None),
        "quality": (1, 100),
        "num_shards": (0, 100_000),
        "workers": (0, 1024),
    }
    if values.fps is not None:
        limits["fps"] = (0.1, 1000)
    if values.short_side is not None:
        limits["short_side"] = (0, None)
    for name, (low, high) in limits.items():
        received = getattr(values, name)
        if not low <= received <= (sys.float_info.max if high is None else high):
            expected = f"at least {low}" if high is None else f"{low} to {high}"
            raise UsageError(f"Expected --{name} of {expected}, received {received}.")


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
