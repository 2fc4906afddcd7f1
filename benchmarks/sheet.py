"""Measures candidates side by side and formats their figures.

    sheet = measure("Title", candidates, rounds=7, threads=1, settings={"batch": 2})
    print(markdown(sheet))
    write("benchmarks/results/title", [sheet])      # title.json and title.md

Every candidate is timed once a round, one after the other, so that all see the same state of the
machine; what is compared (a ratio, a share of the peak) is compared within a round, and the median
over the rounds counts.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from absl import flags

from benchmarks import machine, timing
from tfrecords.utils.atomic import write_json, write_text

PEAK = "matrix product"
MEGA = 2**20


class Candidate(NamedTuple):
    """Describes a row before it is measured.

    Attributes:
        make: builds what is timed; picklable (a `functools.partial` of a top-level function) if
            its memory is measured.
        gflop: cost of a call, 10^9 floating point operations, two for a multiply-add.
        memory: Whether to measure the memory of a call in a separate process.
    """

    make: Callable[[], Callable[[], Any]]
    gflop: float | None = None
    memory: bool = False


@dataclass
class Row:
    """Figures of one candidate.

    Attributes:
        milliseconds: by the clock on the wall, one a round.
        cores: processor time over wall time, the median; below the number of threads it waited.
        gflop: see `Candidate`.
        share: its rate by that of the matrix product in the same round, the median.
        bytes: memory of a call at its peak, beyond weights and inputs.
    """

    milliseconds: list[float]
    cores: float
    gflop: float | None = None
    share: float | None = None
    bytes: int | None = None


@dataclass
class Ratio:
    """Returns how many times as fast `name` is as `other`: the median over the rounds.

    `wanted`: at least this.
    """

    name: str
    other: str
    value: float
    wanted: float


@dataclass
class Sheet:
    """The figures of one table."""

    title: str
    settings: dict[str, Any]
    rows: dict[str, Row]
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def define_flags(rounds: int = 7, threads: int | None = 1) -> None:
    """Defines the flags that every benchmark has.

    Args:
        rounds: default of `--rounds`.
        threads: default of `--threads`; None: all cores.
    """
    flags.DEFINE_integer("rounds", rounds, "Timed rounds; the median counts.", 1)
    flags.DEFINE_integer("threads", threads or os.cpu_count(), "Cores to run on.", 1)
    flags.DEFINE_string("output", None, "Writes OUTPUT.json (all figures) and OUTPUT.md.")


def peak(dtype: str = "float32") -> Candidate:
    """Returns the candidate for the row `PEAK`, against which the others' rates are held."""
    return Candidate(functools.partial(machine.matrix_product, dtype), machine.peak_gflop())


def measure(
    title: str,
    candidates: Mapping[str, Candidate],
    *,
    rounds: int,
    threads: int,
    settings: Mapping[str, Any] | None = None,
    wanted: Mapping[tuple[str, str], float] | None = None,
    notes: Sequence[str] = (),
) -> Sheet:
    """Times candidates in interleaved rounds, after one call each that is not counted.

    Args:
        title: Title of the table.
        candidates: name of the row -> what to time.
        rounds: number of timed rounds.
        threads: cores in use, as given to `machine.hold`.
        settings: Settings of the figures, such as batch and precision.
        wanted: (row, other row) -> how many times as fast the first shall be at least; pairs of
            which a row is missing are left out.
        notes: sentences below the table.
    """
    calls = {name: candidate.make() for name, candidate in candidates.items()}
    times = timing.measure(calls, rounds)
    rows = {}
    for name, candidate in candidates.items():
        wall, processor = times[name]
        rows[name] = Row(
            milliseconds=[round(1000 * second, 3) for second in wall],
            cores=round(statistics.median(p / w for p, w in zip(processor, wall)), 2),
            gflop=candidate.gflop,
        )
        if PEAK in candidates and candidate.gflop and name != PEAK:
            rates = (candidate.gflop / second for second in wall)
            peaks = (candidates[PEAK].gflop / second for second in times[PEAK].wall)
            rows[name].share = statistics.median(a / b for a, b in zip(rates, peaks))
        if candidate.memory:
            rows[name].bytes = machine.peak_bytes(candidate.make, threads)
    ratios = [
        Ratio(
            *pair,
            statistics.median(b / a for a, b in zip(*(times[name].wall for name in pair))),
            least,
        )
        for pair, least in (wanted or {}).items()
        if all(name in times for name in pair)
    ]
    settings = {**(settings or {}), "threads": threads, "rounds": rounds, "warm-up": "1 call"}
    return Sheet(title, settings, rows, ratios, [*notes])


def markdown(sheet: Sheet) -> str:
    """Returns a sheet as a Markdown table; columns without any figure are left out."""
    settings = ", ".join(f"{name} {value}" for name, value in sheet.settings.items())
    columns: dict[str, list[str]] = {"": [*sheet.rows]}
    columns["ms: min / median / max"] = [_spread(row.milliseconds) for row in sheet.rows.values()]
    columns["cores busy"] = [f"{row.cores:.2f}" for row in sheet.rows.values()]
    columns["GFLOP"] = [_digits(row.gflop, 4) for row in sheet.rows.values()]
    columns["GFLOP/s"] = [_rate(row) for row in sheet.rows.values()]
    columns["of the peak"] = [_percent(row.share) for row in sheet.rows.values()]
    columns["memory, MiB"] = [
        "" if row.bytes is None else f"{row.bytes / MEGA:.0f}" for row in sheet.rows.values()
    ]
    columns = {title: cells for title, cells in columns.items() if any(cells)}
    lines = [
        f"**{sheet.title}** ({settings})",
        "",
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(cells)} |" for cells in zip(*columns.values())),
    ]
    if sheet.ratios:
        lines.append("")
    for ratio in sheet.ratios:
        lines.append(
            f"- {ratio.name} is {ratio.value:.2f} times as fast as {ratio.other} "
            f"(wanted: {ratio.wanted:g})"
        )
    if sheet.notes:
        lines += ["", *sheet.notes]
    return "\n".join(lines)


def machine_line() -> str:
    """Returns one line about the machine, which stands above every table."""
    facts = machine.describe()
    parts = [f"{facts['processor']}, {facts['cores']} cores, {' '.join(facts['instructions'])}"]
    parts += [f"{name}={value}" for name, value in facts["limits"].items()]
    parts += [f"{name} {version}" for name, version in facts["versions"].items()]
    parts += [f"TF_ENABLE_ONEDNN_OPTS={facts['onednn']}", *facts["gpus"]]
    return f"*{'; '.join(parts)}; {datetime.date.today().isoformat()}*"


def write(output: str, sheets: Sequence[Sheet], extra: Mapping[str, Any] | None = None) -> None:
    """Writes OUTPUT.json, all figures and the machine, and OUTPUT.md, the tables.

    Args:
        output: path without an ending.
        sheets: Tables to write.
        extra: more figures for the JSON, by name.
    """
    content = {
        "machine": machine.describe(),
        "date": datetime.date.today().isoformat(),
        "sheets": [asdict(sheet) for sheet in sheets],
        **(extra or {}),
    }
    write_json(Path(f"{output}.json"), content)
    text = "\n\n".join([machine_line(), *map(markdown, sheets)])
    write_text(Path(f"{output}.md"), text + "\n")


def read(output: str) -> dict[str, Sheet]:
    """Reads what `write` has written: title -> sheet; nothing if there is no such file."""
    path = Path(f"{output}.json")
    if not path.is_file():
        return {}
    sheets = {}
    for content in json.loads(path.read_text(encoding="utf-8"))["sheets"]:
        content["rows"] = {name: Row(**row) for name, row in content["rows"].items()}
        content["ratios"] = [Ratio(**ratio) for ratio in content["ratios"]]
        sheets[content["title"]] = Sheet(**content)
    return sheets


def _spread(values: Sequence[float]) -> str:
    digits = 0 if min(values) >= 1000 else 1 if min(values) >= 10 else 3
    return " / ".join(f"{f(values):.{digits}f}" for f in (min, statistics.median, max))


def _digits(value: float | None, count: int) -> str:
    return "" if value is None else f"{value:.{count}g}"


def _rate(row: Row) -> str:
    if row.gflop is None:
        return ""
    return f"{1000 * row.gflop / statistics.median(row.milliseconds):.1f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
