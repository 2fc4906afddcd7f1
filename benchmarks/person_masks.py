"""How well automatic masks (`--people`) find the actors, against annotated masks.

    python -m tfrecords.build --source=jhmdb --input=JHMDB --conjugate=none --output=data/jhmdb
        --short_side=0
    python benchmarks/person_masks.py --data=data/jhmdb

Figures are means over clips: recall, the share of the actor's pixels that are found; precision,
the share of what is found that is the actor's (of clips where anything is found); the share of the
picture that is found. Of all clips of the data set, or of `--clips`, as many of each class, evenly
spread over its clips, or of as many `--others`. A method that cannot run is named below the table.
What stands in `--workdir` is not sought again: a stopped command goes on.
"""

from __future__ import annotations

import datetime
import hashlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, Sequence

import numpy as np
from absl import flags

from tfrecords.people.finder import Finder, open_finder
from tfrecords.utils import commandline
from tfrecords.utils.atomic import replacing, write_json, write_text
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.progress import progress

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair

METHODS = ("mediapipe", "motion")
COLUMNS = {
    "recall": "recall",
    "precision": "precision",
    "found": "share of the picture",
    "empty": "clips with nothing found",
    "milliseconds": "ms a frame",
}


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    flags.DEFINE_string("data", None, "Data set directory whose clips have annotated masks.")
    flags.DEFINE_integer("clips", 0, "Clips at most; 0: all.", 0)
    flags.DEFINE_bool("others", False, "Clips that --clips=N leaves, N of them.")
    flags.DEFINE_string("workdir", "runs/person_masks", "Folder of the masks that were found.")
    flags.DEFINE_list("methods", [*METHODS], f"Of {', '.join(METHODS)}.")
    flags.DEFINE_string("output", None, "Writes OUTPUT.json (all figures) and OUTPUT.md.")


def main(arguments: Sequence[str]) -> None:
    options = flags.FLAGS
    if arguments or not options.data:
        raise UsageError(f"Expected --data=DIR, received {arguments[0] if arguments else 'none'}.")
    wrong = [name for name in options.methods if name not in METHODS]
    if wrong or not options.methods:
        received = wrong[0] if wrong else "none"
        raise UsageError(f"Expected --methods among {', '.join(METHODS)}, received {received}.")
    from benchmarks import machine, sheet

    chosen = choose(options.data, options.clips, options.others)
    results: dict[str, dict[str, float]] = {}
    notes = []
    for name in options.methods:
        try:
            finder, _ = open_finder(name)
        except UserError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        results[name] = judge(
            finder, read(options.data, chosen), len(chosen), Path(options.workdir)
        )
    if not results:
        raise UserError(" ".join(notes))
    text = "\n".join([sheet.machine_line(), "", *table(results, len(chosen)), "", *notes]).rstrip()
    print(text)
    if options.output:
        content = {"machine": machine.describe(), "date": datetime.date.today().isoformat()}
        content.update(data=Path(options.data).name, clips=len(chosen), others=options.others)
        content.update(methods=results)
        write_json(Path(f"{options.output}.json"), content)
        write_text(Path(f"{options.output}.md"), text + "\n")


def choose(directory: str, limit: int, others: bool = False) -> set[str]:
    """Chooses clips with annotated masks: as many of each class, evenly spread over its clips.

    Args:
        directory: Data set directory.
        limit: Number of clips at most; 0: all.
        others: Chooses among the clips that the same call without it leaves.

    Raises:
        UsageError: No clip has such a mask, or none is left.
    """
    import tensorflow as tf

    from tfrecords.records import codec

    classes: dict[tuple[int, ...], list[str]] = {}
    for record in _records(directory):
        parsed = codec.parse(tf.constant(record), streams=())
        if len(codec.known_masks(parsed, automatic=False)):
            key = tuple(parsed["labels"].numpy().tolist())
            classes.setdefault(key, []).append(parsed["id"].numpy().decode())
    if not classes:
        raise UsageError(f"Expected clips with annotated masks in {directory}, received none.")
    chosen = _spread(classes, limit)
    if others:
        left = {key: [n for n in names if n not in chosen] for key, names in classes.items()}
        chosen = _spread(left, limit)
    if not chosen:
        raise UsageError(f"Expected --clips of fewer than all for --others, received {limit}.")
    return chosen


def _spread(classes: Mapping[tuple[int, ...], Sequence[str]], limit: int) -> set[str]:
    most = max(map(len, classes.values()))
    each = max(1, limit // len(classes)) if limit else most
    chosen = []
    for names in classes.values():
        count = min(each, len(names))
        chosen += [names[(2 * n + 1) * len(names) // (2 * count)] for n in range(count)]
    return set(chosen[:limit] if limit else chosen)


def read(directory: str, chosen: set[str]) -> Iterator[ClipPair]:
    """Yields the clips of these ids."""
    import tensorflow as tf

    from tfrecords.records import codec

    for record in _records(directory):
        name = codec.parse(tf.constant(record), masks=False, streams=())["id"].numpy().decode()
        if name in chosen:
            yield codec.decode(record)


def _records(directory: str) -> Iterator[bytes]:
    import tensorflow as tf

    from tfrecords.reading.corruption import translate_errors
    from tfrecords.records.dataset import load_info, require_frames, shard_paths

    info = load_info(directory)
    require_frames(directory, info)
    paths = [path for name in info.filled_splits for path in shard_paths(directory, info, name)]
    with translate_errors(directory):
        yield from tf.data.TFRecordDataset(paths).as_numpy_iterator()


def find(finder: Finder, clip: np.ndarray, workdir: Path) -> tuple[np.ndarray, float]:
    """Finds the people of a clip, or reads what was found in the same frames; and the seconds."""
    name = hashlib.sha256(clip.tobytes()).hexdigest()[:32]
    path = workdir / finder.title / f"{name}.npz"
    if not path.is_file():
        start = time.perf_counter()
        mask = finder.find(clip)
        seconds = time.perf_counter() - start
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, mask=mask, seconds=seconds)
    with np.load(path) as arrays:
        return arrays["mask"], float(arrays["seconds"])


def judge(finder: Finder, pairs: Iterator[ClipPair], total: int, workdir: Path) -> dict[str, float]:
    """Finds the people of clips and compares them with the annotated actors.

    Args:
        finder: Method.
        pairs: Clips with annotated masks.
        total: Their number.
        workdir: Folder of the masks that were found.

    Returns:
        recall, precision, found and true (shares of the picture), empty (clips with nothing found),
        milliseconds a frame; frames.
    """
    rows, frames, seconds = [], 0, 0.0
    for pair in progress(pairs, total=total, desc=finder.name, unit="clip"):
        assert pair.mask is not None
        found, taken = find(finder, pair.clip, workdir)
        seconds += taken
        frames += len(found)
        rows.append(compare(found, pair.mask))
    recall, precision, share, true = (np.array(column) for column in zip(*rows))
    return {
        "recall": float(np.nanmean(recall)),
        "precision": float(np.nanmean(precision)) if share.any() else 0.0,
        "found": float(share.mean()),
        "true": float(true.mean()),
        "empty": int((share == 0).sum()),
        "milliseconds": 1000 * seconds / frames,
        "frames": frames,
    }


def compare(found: np.ndarray, true: np.ndarray) -> tuple[float, float, float, float]:
    """Returns recall, precision and the shares found and true of masks bool [T, H, W].

    Recall is NaN if nobody is there, precision if nothing is found.
    """
    both = (found & true).sum()
    recall = both / true.sum() if true.any() else np.nan
    precision = both / found.sum() if found.any() else np.nan
    return float(recall), float(precision), float(found.mean()), float(true.mean())


def table(results: dict[str, dict[str, float]], clips: int) -> list[str]:
    """Returns the lines of the Markdown table."""
    frames, true = (next(iter(results.values()))[key] for key in ("frames", "true"))
    lines = [
        f"**Automatic masks** ({clips} clips, {frames} frames; the actors are {true:.2f} of the "
        "picture)",
        "",
        f"| `--people` | {' | '.join(COLUMNS.values())} |",
        "|" + "---|" * (len(COLUMNS) + 1),
    ]
    for name, values in results.items():
        cells = [f"{values[key]:.2f}" for key in ("recall", "precision", "found")]
        cells += [f"{values['empty']}", f"{values['milliseconds']:.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
