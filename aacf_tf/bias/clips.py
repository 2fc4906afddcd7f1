"""The clips of a split with what the test sets are made of: masks, and scenes without actors."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, TypeVar

import cv2
import numpy as np
import tensorflow as tf

from aacf_tf.bias.sets import SWAPS, Material, choose_scenes, fit_scene
from tfrecords.conjugates.remove_person import remove_person
from tfrecords.media import video
from tfrecords.media.motion import motion_mask
from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.options import ClipSpec
from tfrecords.reading.phases import frame_indices
from tfrecords.records import codec
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import PLAN_FILE, load_info, require_frames, shard_paths, test_splits
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import to_path
from tfrecords.utils.progress import progress
from tfrecords.utils.remote.shards import read_records

AROUND = 12  # frames beside those sampled in which motion is looked for
LEAST_ACTOR = 1 / 1000  # of the pixels: with less there is no actor to speak of
MOST_ACTOR = 0.9  # of the pixels: with more there is no scene to speak of

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Clip:
    """A clip that can be tested; its mask and scene are packed.

    Attributes:
        number: Number of its record in the split.
        id: Its name.
        labels: Its classes.
        shape: (T, H, W) of its frames.
    """

    number: int
    id: str
    labels: tuple[str, ...]
    shape: tuple[int, int, int]
    packed_mask: np.ndarray
    packed_scene: list[bytes]  # a JPEG a frame; empty: it has no scene

    def mask(self) -> np.ndarray:
        """Returns the map of the actor, bool `[T, H, W]`."""
        bits = np.unpackbits(self.packed_mask, count=int(np.prod(self.shape)))
        return bits.reshape(self.shape).astype(bool)

    def scene(self) -> np.ndarray | None:
        """Returns the clip without its actor, uint8 `[T, H, W, 3]`; None: it has no scene."""
        if not self.packed_scene:
            return None
        codes = (np.frombuffer(frame, np.uint8) for frame in self.packed_scene)
        return np.stack([cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1] for code in codes])


class Clips:
    """The clips of a split, chosen and prepared.

    Args:
        data: Data set directory with frames.
        split: Split of it; None: "test", else the first whose name begins so.
        spec: Frames, size and rate that the classifier sees; larger frames are scaled to a shorter
            side of twice that first.
        masks: "annotated", those in the records; "automatic", those in them that a program found;
            "motion", see `tfrecords.media.motion`; "auto": the first of these that the split has.
        limit: Clips at most, drawn from those that can be used; 0: all.
        seed: Seed of what is drawn.

    Attributes:
        masks: Where the masks are from, "annotated", "automatic" or "motion".
        removed: Whether the scenes are conjugates that the records hold; else made here.
        total: Clips of the split.
        left_out: Reason to the number of clips that were left out for it.
        clips: The clips.

    Raises:
        UsageError: The split does not exist, or no clip of it can be used.
    """

    def __init__(
        self,
        data: StrPath,
        split: str | None,
        spec: ClipSpec,
        masks: str = "auto",
        limit: int = 300,
        seed: int = 0,
    ):
        info = load_info(data)
        require_frames(data, info)
        self.split = split or _choose_split(test_splits(info), data)
        self.total = info.require_split(self.split)["clips"]
        self.labels = info.labels
        self._data, self._spec, self._seed = data, spec, seed
        self._paths = shard_paths(data, info, self.split)
        self._short_side = max(256, 2 * max(spec.size))
        self.removed = _conjugates_are_scenes(data)
        self.left_out: Counter[str] = Counter()
        numbers = self._choose(masks, limit)
        bar = progress(total=len(numbers), desc="masks and scenes", unit="clip")
        self.clips: list[Clip] = []
        for clip in _ahead(self._prepare, self._records(numbers)):
            bar.update()
            if isinstance(clip, str):
                self.left_out[clip] += 1
            else:
                self.clips.append(clip)
        bar.close()
        if not self.clips:
            reasons = ", ".join(f"{reason} in {count}" for reason, count in self.reasons())
            raise UsageError(
                f"Expected clips with an actor in split {self.split!r} of {data}, masks "
                f"{self.masks}, received none ({reasons})."
            )

    def reasons(self) -> list[tuple[str, int]]:
        """Lists why clips were left out, and how many."""
        return [(reason, count) for reason, count in self.left_out.items() if count]

    def each(
        self, use: Callable[[Material], Result], lenders: dict[str, list[int | None]]
    ) -> Iterator[tuple[int, Result]]:
        """Yields the number of each clip and what `use` makes of its material, in order.

        Args:
            use: Function of the material; called by several threads.
            lenders: Kind of `choose_scenes` to the number of the clip whose scene each clip gets.
        """
        places = {clip.number: place for place, clip in enumerate(self.clips)}

        def make(item: tuple[int, bytes]) -> tuple[int, Result]:
            clip = self.clips[places[item[0]]]
            pair, indices = self._decode(*item)
            scenes = {}
            for kind, chosen in lenders.items():
                lender = chosen[places[clip.number]]
                scene = None if lender is None else self.clips[lender].scene()
                if scene is not None:
                    scenes[kind] = fit_scene(scene, clip.shape)
            frames = self._scale(pair.clip[indices])
            seed = (self._seed, clip.number)
            return places[clip.number], use(
                Material(frames, clip.mask(), clip.scene(), scenes, seed)
            )

        yield from _ahead(make, self._records(places))

    def lenders(self, targets: np.ndarray) -> dict[str, list[int | None]]:
        """Chooses whose scene each clip gets: kind of `choose_scenes` to numbers in `clips`.

        Args:
            targets: Classes of the clips, bool `[N, K]`.
        """
        able = np.array([bool(clip.packed_scene) for clip in self.clips])
        chosen = {}
        for index, kind in enumerate(SWAPS.values()):
            # The first draws are those of `composites`, so that the sets are the same.
            random = np.random.default_rng([self._seed, index] if index else self._seed)
            chosen[kind] = choose_scenes(targets, random, kind, able)
        return chosen

    def _choose(self, masks: str, limit: int) -> list[int]:
        """Chooses the masks, and the numbers of the records that are used."""
        parsed = read_records(self._paths).map(lambda record: codec.parse(record, streams=()))
        with translate_errors(self._data):
            found = [
                (record["labels"].size > 0, record["mask"].size > 0, bool(record["automatic"]))
                for record in parsed.as_numpy_iterator()
            ]
        labelled, masked, automatic = np.array(found).T
        kinds = {"annotated": masked & ~automatic, "automatic": masked & automatic}
        self.masks = masks
        if masks == "auto":
            self.masks = next((kind for kind, has in kinds.items() if has.any()), "motion")
        usable = labelled & kinds.get(self.masks, True)
        self.left_out["no class"] = int((~labelled).sum())
        self.left_out["no mask"] = int((labelled & ~usable).sum())
        numbers = np.flatnonzero(usable)
        if not len(numbers):
            kind = "an automatic" if self.masks == "automatic" else "a"
            what = "a class" if not labelled.any() else f"{kind} mask of the actor"
            hint = "" if not labelled.any() else " (--masks=motion finds what moves)"
            raise UsageError(
                f"Expected clips with {what} in split {self.split!r} of {self._data}{hint}, "
                f"received {self.total} without."
            )
        if limit and len(numbers) > limit:
            chosen = np.random.default_rng(self._seed).choice(numbers, limit, replace=False)
            numbers = np.sort(chosen)
        return numbers.tolist()

    def _records(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Yields the number and the bytes of the records wanted."""
        wanted = set(numbers)
        with translate_errors(self._data):
            records = read_records(self._paths).as_numpy_iterator()
            yield from (item for item in enumerate(records) if item[0] in wanted)

    def _decode(self, number: int, record: bytes) -> tuple[ClipPair, np.ndarray]:
        """Decodes a record; returns it with the indices of the frames that are sampled."""
        try:
            pair = codec.decode(record)
        except UserError as error:
            raise UserError(
                f"Record {number} of split {self.split!r} of {self._data}: {error}"
            ) from error
        step = pair.fps / self._spec.fps if self._spec.fps else 1.0
        length = tf.constant(len(pair.clip))
        indices = frame_indices(length, self._spec.frames, tf.constant(step, tf.float32), None)
        return pair, indices.numpy()

    def _prepare(self, item: tuple[int, bytes]) -> Clip | str:
        """Finds the mask and the scene of a clip; else says why it is left out."""
        pair, indices = self._decode(*item)
        frames = self._scale(pair.clip[indices])
        if self.masks != "motion":
            assert pair.mask is not None
            mask = pair.mask[indices]
        else:
            first = max(0, indices[0] - AROUND)
            mask = motion_mask(pair.clip[first : indices[-1] + AROUND + 1])[indices - first]
        mask = self._scale(mask.astype(np.uint8) * 255) > 127
        if mask.mean() < LEAST_ACTOR:
            return "no motion" if self.masks == "motion" else "no actor"
        if mask.mean() > MOST_ACTOR:
            return "nothing but the actor"
        if self.removed and pair.conjugate is not None and len(pair.conjugate) == len(pair.clip):
            scene = self._scale(pair.conjugate[indices])
        else:
            scene = remove_person(frames, mask)
        # A hole that leaves nothing to fill it from is not filled.
        filled = not np.array_equal(scene[mask], frames[mask])
        packed = [codec.encode_image(frame, "JPEG") for frame in scene] if filled else []
        count, height, width = mask.shape
        shape = (count, height, width)
        return Clip(item[0], pair.id, tuple(pair.labels), shape, np.packbits(mask), packed)

    def _scale(self, images: np.ndarray) -> np.ndarray:
        size = video.scaled_size(images.shape[1], images.shape[2], self._short_side)
        return np.stack([video.resize(image, size) for image in images])


def _choose_split(tests: list[str], data: StrPath) -> str:
    if not tests:
        raise UsageError(
            f"Expected a split whose name begins with 'test' in {data}, or one by --split, "
            "received none."
        )
    return "test" if "test" in tests else tests[0]


def _conjugates_are_scenes(data: StrPath) -> bool:
    """Returns whether the conjugates of a data set are its clips with the people removed."""
    path = to_path(data) / PLAN_FILE
    if not path.is_file():
        return False
    try:
        plan: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # the records can be read all the same
        return False
    return isinstance(plan, dict) and plan.get("conjugate") == "remove_person"


def _ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields `work(item)` of each item in order, computed by threads a few items ahead."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
