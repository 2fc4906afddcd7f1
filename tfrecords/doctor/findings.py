"""Finds out what a build would read and what is wrong with it, as facts, warnings and advice."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, Sequence

import numpy as np

from tfrecords.build import checks, dry_run, shards
from tfrecords.conjugates.shots import find_cuts, find_transitions, signature, thumbnail
from tfrecords.doctor.files import File, length, look_at_files
from tfrecords.media.pictures import evenly
from tfrecords.records.clip_pair import ClipPair
from tfrecords.show.describe import table
from tfrecords.sources import Row, SourceOptions, open_source
from tfrecords.sources.videos import VideoSource
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

SHOWN = 5  # examples named
RARE = 10  # times as many clips of the largest class as of the smallest are too many
FEW = 5  # clips of a class to train on, fewer are too few
FAST = 30.0  # frames/s; more are seldom of use
FINE = 256  # pixels of the shorter side, enough for crops of 224 as pretrained networks see


class Clip(NamedTuple):
    """A clip that was decoded: its row, what a build would store, and the cuts in it."""

    row: Row
    pair: ClipPair
    cuts: int


@dataclass
class Findings:
    """What was found.

    Attributes:
        title: What was looked at.
        facts: Names and values.
        classes: Clips a class and split, under a header.
        build: Lines on the cost of a build.
        warnings: Sentences that begin with "Warning:", and remarks.
        advice: Sentences.
        command: The build; "": there is none.
        clips: Clips that were decoded.
    """

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    classes: list[tuple] = field(default_factory=list)
    build: str = ""
    warnings: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    command: str = ""
    clips: list[Clip] = field(default_factory=list)

    def text(self) -> str:
        """Returns all but the pictures, for the terminal."""
        blocks = [
            f"{self.title}\n{table(self.facts)}",
            table(self.classes) if len(self.classes) > 1 else "",
            "\n".join(self.warnings),
            self.build,
            "\n".join(self.advice),
            self.command,
        ]
        return "\n\n".join(filter(None, blocks))


def find(
    source: VideoSource,
    options: SourceOptions,
    quality: int,
    workers: int,
    sample: int,
    why: str,
    given: Sequence[str],
) -> Findings:
    """Looks at the rows of a source, at their files and at some clips.

    Args:
        source: Source of the rows.
        options: Its options.
        quality: JPEG quality of a build.
        workers: Files looked at in parallel, as a build would.
        sample: Clips to decode.
        why: Why that source, or a warning that no build can read the input.
        given: Flags that the user gave, for the build's command.
    """
    rows, files = source.rows(), look_at_files(source, workers)
    chosen = evenly(len(rows), sample).tolist()
    bar = progress(chosen, desc="clips", unit="clip", leave=False)
    tried = dry_run.try_rows(source, bar, quality)
    planned = shards.list_shards(rows, 0)
    buildable = not why.startswith("Warning")
    found = Findings(f"{options.input}" + (f" ({why})" if why and buildable else ""))
    found.build = dry_run.describe(source, planned, quality, workers, tried=tried)
    found.clips = _decoded(rows, tried)
    found.facts = _facts(rows, files, found.clips)
    found.classes = _classes(source)
    found.warnings = [] if buildable else [why]
    found.warnings += checks.remarks(source, options)
    found.warnings += [*_broken(rows, files), *_beyond(rows, files), *_imbalance(source)]
    found.warnings += [*_unmade(rows, files, tried), *_cut(found.clips)]
    advice = _advice(source, options, files, found)
    found.advice = [f"{flag or 'Note'}: {text}" for flag, text in advice]
    if buildable:
        words = [f"--source={source.name}", f"--input={options.input}", "--output=data/mine"]
        words += [*given, *(flag for flag, _ in advice if flag)]
        found.command = f"python -m tfrecords.build {' '.join(map(shlex.quote, words))}"
    return found


def _decoded(rows: Sequence[Row], tried: dry_run.Tried) -> list[Clip]:
    """Decodes the records that could be made."""
    from tfrecords.records import codec

    clips = []
    for n, outcome in tried.outcomes.items():
        if not isinstance(outcome, str):
            pair = codec.decode(outcome.data)
            cuts = find_cuts(np.stack([signature(frame) for frame in pair.clip]))
            dissolves = find_transitions(np.stack([thumbnail(frame) for frame in pair.clip]))
            clips.append(Clip(rows[n], pair, len(cuts) + len(dissolves) // 2))
    return clips


def _facts(
    rows: Sequence[Row], files: dict[str, File], clips: Sequence[Clip]
) -> list[tuple[str, str]]:
    readable = [file for file in files.values() if not file.reason]
    films = [file for file in readable if file.fps]
    splits = Counter(row.split for row in rows)
    facts = [
        ("clips", f"{len(rows)}: {', '.join(f'{name} {n}' for name, n in splits.items())}"),
        ("files", f"{len(files)}, of which {len(files) - len(readable)} cannot be read"),
        ("pixels", _kinds(Counter("{} x {}".format(*file.size) for file in readable))),
        ("rate", _kinds(Counter(f"{file.fps:.4g} frames/s" for file in films))),
    ]
    lengths = {n: length(row, files[row.media]) for n, row in enumerate(rows)}
    known = sorted((seconds, n) for n, seconds in lengths.items() if seconds)
    if known and any(file.fps for file in readable):
        (shortest, first), (longest, last) = known[0], known[-1]
        facts += [
            ("shortest", f"{shortest:.3g} s, {rows[first].id}"),
            ("longest", f"{longest:.3g} s, {rows[last].id}"),
            ("median", f"{known[len(known) // 2][0]:.3g} s"),
        ]
    if any(len(clip.pair.clip) > 1 for clip in clips):
        whole = sum(not clip.cuts for clip in clips)
        facts.append(("shots", f"{whole} of {len(clips)} clips decoded are one shot"))
    frames = sum(len(clip.pair.clip) for clip in clips)
    looked = f"one of each file, and the {frames} that a build would store of {len(clips)} clips"
    facts.append(("decoded", f"{looked} (--sample)"))
    return [(name, value) for name, value in facts if value]


def _kinds(counts: Counter) -> str:
    """Lists values and how often they occur, the frequent ones first."""
    listed = [f"{value} ({count})" for value, count in counts.most_common(SHOWN)]
    more = len(counts) - SHOWN
    return ", ".join(listed) + (f" and {more} other kinds" if more > 0 else "")


def _classes(source: VideoSource) -> list[tuple]:
    """Counts the clips of each class in each split."""
    splits = list(dict.fromkeys(row.split for row in source.rows()))
    counts = Counter((label, row.split) for row in source.rows() for label in row.labels or ("",))
    rows = [(label, *(counts[label, split] for split in splits)) for label in source.labels]
    if any(not row.labels for row in source.rows()):
        rows.append(("(no action)", *(counts["", split] for split in splits)))
    return [("class", *splits), *rows]


def _broken(rows: Sequence[Row], files: dict[str, File]) -> list[str]:
    bad = {name: file.reason for name, file in files.items() if file.reason}
    if not bad:
        return []
    lost = sum(row.media in bad for row in rows)
    examples = [f"{name}: {reason}" for name, reason in bad.items()]
    share = f"{len(bad)} of {len(files)} files, for {lost} of {len(rows)} clips,"
    return [f"Warning: {share} cannot be read: {_some(examples)}."]


def _unmade(rows: Sequence[Row], files: dict[str, File], tried: dry_run.Tried) -> list[str]:
    """Returns sentences on clips tried whose frames, mask or conjugate a build would not have.

    Files that cannot be read are named by `_broken`.
    """
    skipped, lost = [], []
    for n, outcome in tried.outcomes.items():
        row = rows[n]
        if any(files[name].reason for name in (row.media, row.conjugate_media) if name):
            continue
        if isinstance(outcome, str):
            skipped.append(f"{row.id}: {outcome}")
        elif outcome.lost:
            lost.append(f"{row.id}: {outcome.lost}")
    total = len(tried.outcomes)
    kinds = {
        f"{len(skipped)} of {total} clips decoded cannot be made and would be skipped": skipped,
        f"{len(lost)} of {total} clips decoded lose their conjugate": lost,
    }
    return [f"Warning: {what}: {_some(bad)}." for what, bad in kinds.items() if bad]


def _beyond(rows: Sequence[Row], files: dict[str, File]) -> list[str]:
    """Returns a sentence on spans that end after their file, if any."""
    late = [
        f"{row.id} of {seconds:.4g} s"
        for row, seconds in ((row, files[row.media].seconds) for row in rows)
        if seconds and max(row.end or 0.0, row.start) > seconds + 0.5
    ]
    what = f"Warning: spans that end after their file ({len(late)})"
    return [f"{what}: {_some(late)}."] if late else []


def _imbalance(source: VideoSource) -> list[str]:
    train = (row for row in source.rows() if row.split == "train")
    counts = Counter(label for row in train for label in row.labels)
    held = {label: counts[label] for label in source.labels if counts[label]}
    if len(held) < 2:
        return []
    sentences = []
    few = [f"{label} ({count})" for label, count in held.items() if count < FEW]
    if few:
        sentences.append(f"Warning: fewer than {FEW} clips to train on: {_some(few)}.")
    largest, smallest = max(held, key=held.__getitem__), min(held, key=held.__getitem__)
    if held[largest] >= RARE * held[smallest]:
        sentences.append(
            f"Warning: {largest} has {held[largest]} clips to train on and {smallest} has "
            f"{held[smallest]}; train_main.py --set data.class_weights=balanced weighs them alike."
        )
    return sentences


def _cut(clips: Sequence[Clip]) -> list[str]:
    cut = [f"{clip.row.id} ({clip.cuts})" for clip in clips if clip.cuts]
    if not cut:
        return []
    return [f"Warning: cuts inside {len(cut)} of {len(clips)} clips decoded: {_some(cut)}."]


def _advice(
    source: VideoSource, options: SourceOptions, files: dict[str, File], found: Findings
) -> list[tuple[str, str]]:
    """Returns flags of the build ("": none) and why."""
    advice = []
    splits = {row.split for row in source.rows()}
    if splits == {"train"} and not options.make_splits:
        advice.append(("--make_splits=70,15,15", "there is no split to choose and to test on"))
    if options.make_splits and any("look alike" in text for text in found.warnings):
        advice.append(("--near_duplicates=apart", "keeps clips that look alike in one split"))
    readable = [file for file in files.values() if not file.reason]
    rates = Counter(round(file.fps, 2) for file in readable if file.fps)
    if rates and options.fps is None and not options.stills:
        usual = min(rates.most_common(1)[0][0], FAST)
        if max(rates) > 1.01 * min(rates) or max(rates) > 1.01 * FAST:
            kinds = f"{min(rates):g} to {max(rates):g} frames/s in the files"
            advice.append(
                (f"--fps={usual:g}", f"{kinds}; one rate for all clips, and no more than of use")
            )
    sides = [min(file.size) for file in readable]
    if sides and options.short_side is None:
        stored, finest = source.short_side, min(FINE, min(sides))
        if max(sides) <= stored:
            advice.append(("", f"no frame is larger than --short_side={stored}: stored as it is"))
        elif finest > stored:
            more = (finest / stored) ** 2
            advice.append(
                (
                    "",
                    f"frames of {min(sides)} pixels or more are stored at {stored}; for a "
                    f"pretrained backbone --short_side={finest} keeps more, at about {more:.2g} "
                    "times the bytes",
                )
            )
    return advice + _conjugates(source, options, found.clips)


def _conjugates(
    source: VideoSource, options: SourceOptions, clips: Sequence[Clip]
) -> list[tuple[str, str]]:
    """Returns the flag that finds more conjugates, or a note on those there are."""
    sought = [clip for clip in clips if clip.pair.labels]
    paired = sum(clip.pair.conjugate is not None for clip in sought)
    masked = any(clip.row.mask for clip in clips)
    if options.conjugate is None and masked and source.conjugate == "before_after":
        return [("--conjugate=remove_person", "masks say where the actors are")]
    if source.conjugate == "frozen_frame":
        made = "repeats a clip's first frame: the scene, and the actor at rest"
        return [("", f"--conjugate=frozen_frame {made}")]
    if paired == len(sought) or source.conjugate == "auto":
        return []
    missing = f"{len(sought) - paired} of {len(sought)} clips decoded have no conjugate"
    if source.conjugate != "none" and _takes_auto(source.name, options):
        return [("--conjugate=auto", f"{missing} by {source.conjugate}; takes the best there is")]
    return [("", f"{missing}: the context is learned from the others alone")]


def _takes_auto(name: str, options: SourceOptions) -> bool:
    """Returns whether a source takes `--conjugate=auto`."""
    bare = dataclasses.replace(options, make_splits=None, group_pattern=None, near_duplicates=None)
    try:
        open_source(name, dataclasses.replace(bare, conjugate="auto"))
    except UsageError:
        return False
    return True


def _some(examples: Sequence[str]) -> str:
    more = len(examples) - SHOWN
    return "; ".join(examples[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
