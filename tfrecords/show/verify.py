"""Verifies a data set: reads and checks every record and the checksum of every shard."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from tfrecords.records import checking, dataset
from tfrecords.records.dataset import DatasetInfo
from tfrecords.records.feature_codec import FeatureInfo
from tfrecords.utils import atomic
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UserError
from tfrecords.utils.filesystem import AnyPath, to_path
from tfrecords.utils.progress import progress


def verify(directory: StrPath) -> str:
    """Verifies every record, see `checking.check_record`, and the number and checksum of shards.

    Returns:
        One line about what was read.

    Raises:
        UserError: Something is wrong with a shard or record; names the first.
    """
    info, features = checking.load_both(directory)
    manifest = dataset.load_manifest(directory)
    dataset.load_skipped(directory)
    counts = {name: Counter() for name in info.filled_splits}
    shards = [
        (n, to_path(path)) for n in counts for path in dataset.shard_paths(directory, info, n)
    ]
    ids: set[str] = set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def check(shard: tuple[str, AnyPath]) -> tuple[list[str], Counter]:
            return _check_shard(*shard, info, features, manifest)

        checked = pool.map(check, shards)
        try:
            for split, path in progress(shards, desc="verify", unit="shard", leave=False):
                shard_ids, shard_counts = next(checked)
                for name in shard_ids:
                    if name in ids:
                        raise UserError(f"{path}: the id {name!r} stands twice in the data set.")
                    ids.add(name)
                counts[split] += shard_counts
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for split, sums in counts.items():
        for key in ("clips", "pairs", "negatives", "decoys"):
            expected = info.splits[split].get(key, sums[key])
            if sums[key] != expected:
                raise UserError(
                    f"Expected {expected} {key} in split {split!r} as {dataset.INFO_FILE} in "
                    f"{directory} says, received {sums[key]}."
                )
    images = sum(sums["images"] for sums in counts.values())
    checksums = "checksums agree" if manifest else f"no {dataset.MANIFEST_FILE}, no checksums"
    return f"{directory}: {len(ids)} records in {len(shards)} shards, {images} images: {checksums}."


def _check_shard(
    split: str,
    path: AnyPath,
    info: DatasetInfo,
    features: Optional[FeatureInfo],
    manifest: Optional[dict[str, dataset.ShardEntry]],
) -> tuple[list[str], Counter]:
    """Returns the ids and counts of a shard's records; UserError if something is wrong."""
    entry = None
    if manifest is not None:
        entry = manifest.get(path.name)
        if entry is None:
            raise UserError(f"{path} is not in {dataset.MANIFEST_FILE}.")
    ids: list[str] = []
    counts: Counter = Counter()
    for number, serialized in checking.read_shard(path):
        with checking.naming(path, number):
            name, record_counts = checking.check_record(serialized, info, split, features)
        ids.append(name)
        counts += record_counts
    if entry is not None and len(ids) != entry["records"]:
        raise UserError(f"{path}: expected {entry['records']} records, received {len(ids)}.")
    # Last, since a record that cannot be read says more than a checksum that differs.
    if entry is not None and atomic.sha256(str(path)) != entry["sha256"]:
        raise UserError(f"{path}: the checksum is not that of {dataset.MANIFEST_FILE}.")
    return ids, counts
