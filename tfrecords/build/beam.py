"""The build as an Apache Beam pipeline: in memory on this machine, or on Flink, Spark, Dataflow.

    python -m tfrecords.build --input=s3://bucket/clips.csv --output=s3://bucket/data --runner=beam
        -- --runner=FlinkRunner --flink_master=host:8081

An element of the pipeline is a shard: a worker decodes its rows one after the other and writes it
with the function of the local build, so that bytes, memory and resuming are the same.
`--num_shards` sets how finely the work is divided. Workers open the source themselves: all of them
must be able to reach input, media and output, and have this package installed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from tfrecords.build import shards
from tfrecords.build.shards import Shard
from tfrecords.sources import Source
from tfrecords.utils import commandline
from tfrecords.utils.errors import UserError
from tfrecords.utils.filesystem import AnyPath, to_path

logger = logging.getLogger(__name__)

# Beam's DirectRunner may fetch a program over the network first; this one is in the package.
DEFAULT_RUNNER = "FnApiRunner"


def write_all(
    step: WriteShard, arguments: Sequence[str], directory: AnyPath, all_shards: Sequence[Shard]
) -> None:
    """Writes every missing shard by a pipeline and waits for it.

    Args:
        step: Step of the pipeline that writes a shard.
        arguments: Beam's own flags.
        directory: Data set directory.
        all_shards: All shards of the build.

    Raises:
        UserError: The pipeline failed.
    """
    missing = shards.list_missing(directory, all_shards)
    logger.info(f"{len(missing)} of {len(all_shards)} shards are to be written by Beam.")
    options = PipelineOptions(list(arguments))
    named = options.get_all_options(drop_default=True).get("runner")
    try:
        with beam.Pipeline(runner=None if named else DEFAULT_RUNNER, options=options) as pipeline:
            names = pipeline | "Shards" >> beam.Create([shard.name for shard in missing])
            # Without a reshuffle the runner may give all shards to the worker that listed them.
            _ = names | "Spread" >> beam.Reshuffle() | "Write" >> beam.ParDo(step)
    except Exception as error:  # of every kind, from whatever runs the pipeline
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise UserError(f"The Beam pipeline failed: {reason}") from error


@dataclass(eq=False)
class WriteShard(beam.DoFn):
    """Writes the shard of a name and passes the name on.

    Attributes:
        open_source: Function that opens the source, here or on another machine; can be pickled.
        identity: Digest of the source, which every worker must find the same.
        output: Data set directory.
        quality: JPEG quality of the frames.
        num_shards: Files a split, as for `shards.list_shards`.
    """

    open_source: Callable[[], Source]
    identity: str
    output: str
    quality: int
    num_shards: int
    shared: Shared = field(default_factory=Shared)  # one source a process: it knows the shots

    def setup(self) -> None:
        """Opens the source, once a process."""
        commandline.quiet_tensorflow()
        shards.prepare_process()
        self._source = self.shared.acquire(self._open)
        rows = self._source.rows()
        self._shards = {shard.name: shard for shard in shards.list_shards(rows, self.num_shards)}

    def process(self, element: str) -> Iterator[str]:
        """Decodes the rows of a shard one by one and writes it."""
        shard = self._shards[element]
        outcomes = (shards.outcome(self._source, row, self.quality) for row in shard.rows)
        shards.write_one(to_path(self.output), shard, outcomes)
        yield element

    def _open(self) -> Source:
        source = self.open_source()
        if source.identity() != self.identity:
            raise UserError("A worker sees other rows or files than the machine that sent it.")
        return source
