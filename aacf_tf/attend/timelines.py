"""Writes the intervals of a video for people and programs: json, csv, WebVTT, ELAN, a picture."""

from __future__ import annotations

import csv
import io
import json
import mimetypes
from pathlib import Path
from typing import Any, Sequence
from xml.etree import ElementTree

from aacf_tf.attend.intervals import Interval
from tfrecords.utils.atomic import replacing
from tfrecords.utils.errors import UserError

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#f0e442")
_SIDES = ("left", "top", "right", "bottom")


def write_timeline(
    path: Path, video: str, seconds: float, about: dict[str, Any], intervals: Sequence[Interval]
) -> None:
    """Writes the intervals in the form that the file's ending names, atomically.

    Args:
        path: File to write, its ending one of `_WRITERS`.
        video: The video, as it was given.
        seconds: Length of the video.
        about: What a json file says beside: rate, size, score, threshold.
        intervals: Intervals in the order of their starts.

    Raises:
        UserError: The file cannot be written.
    """
    content = _WRITERS[path.suffix.lower()](video, seconds, about, intervals)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise UserError(f"Expected to write {path}, received {error}.") from error


def _json(video: str, seconds: float, about: dict[str, Any], intervals: Sequence[Interval]) -> str:
    rows = [one.to_dict() for one in intervals]
    content = {"video": video, "seconds": round(seconds, 3), **about, "intervals": rows}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(video: str, seconds: float, about: dict[str, Any], intervals: Sequence[Interval]) -> str:
    """A table that `python -m tfrecords.build --source=csv` takes for one of clips."""
    file = io.StringIO()
    names = ("start", "end", "class", "score", "context_share", "at")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["video", *names, *_SIDES])
    for one in intervals:
        row = one.to_dict()
        writer.writerow([video, *(row[name] for name in names), *(one.box or ("",) * 4)])
    return file.getvalue()


def _vtt(video: str, seconds: float, about: dict[str, Any], intervals: Sequence[Interval]) -> str:
    """Subtitles: players show the class while it is there."""
    cues = ["WEBVTT"]
    for one in intervals:
        start, end = _ticks(one)
        text = f"{one.label} {one.score:.2f}"
        for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(mark, entity)
        cues.append(f"{_clock(start)} --> {_clock(end)}\n{text}")
    return "\n\n".join(cues) + "\n"


def _eaf(video: str, seconds: float, about: dict[str, Any], intervals: Sequence[Interval]) -> bytes:
    """A document of ELAN, a tier for each class."""
    add = ElementTree.SubElement
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "aacf_tf.attend",
            "DATE": "1970-01-01T00:00:00+00:00",  # the same input gives the same file
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = add(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    path = Path(video)
    add(
        header,
        "MEDIA_DESCRIPTOR",
        {
            "MEDIA_URL": path.absolute().as_uri(),
            "RELATIVE_MEDIA_URL": f"./{path.name}",
            "MIME_TYPE": mimetypes.guess_type(path.name)[0] or "video/*",
        },
    )
    order = add(root, "TIME_ORDER")
    times = sorted({time for one in intervals for time in _ticks(one)})
    slots = {time: f"ts{number}" for number, time in enumerate(times, start=1)}
    for time, slot in slots.items():
        add(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(time)})
    number = 0
    for label in _labels(intervals) or ["action"]:
        tier = add(root, "TIER", {"LINGUISTIC_TYPE_REF": "action", "TIER_ID": _printable(label)})
        for one in (one for one in intervals if one.label == label):
            number += 1
            start, end = (slots[time] for time in _ticks(one))
            annotation = add(
                add(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": start, "TIME_SLOT_REF2": end},
            )
            add(annotation, "ANNOTATION_VALUE").text = f"{_printable(label)} {one.score:.2f}"
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "action", "TIME_ALIGNABLE": "true"}
    add(root, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _png(video: str, seconds: float, about: dict[str, Any], intervals: Sequence[Interval]) -> bytes:
    """A picture: a row for each class, a bar for each interval as high as its score."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tfrecords.media import letters

    labels = _labels(intervals)[::-1] or ["no action"]  # the first one stands on top
    shown = [letters.readable(label)[:40] for label in labels]
    families = []
    for path in letters.paths([*shown, Path(video).name]):
        font_manager.fontManager.addfont(path)
        families.append(font_manager.FontProperties(fname=path).get_name())
    with matplotlib.rc_context({"font.family": families}):
        figure = Figure(figsize=(12, 1.4 + 0.5 * len(labels)), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        for row, label in enumerate(labels):
            color = _COLORS[(len(labels) - 1 - row) % len(_COLORS)]
            rim = {"color": color, "edgecolor": color, "linewidth": 1.5}  # seen in an hour, too
            for one in (one for one in intervals if one.label == label):
                width, height = one.end - one.start, 0.8 * one.score
                axes.bar(one.start, height, width, row - 0.4, align="edge", **rim)
                if one.context_share:  # its part is hatched, from below
                    part = height * one.context_share
                    style = {"color": "none", "edgecolor": "black", "hatch": "////", "linewidth": 0}
                    axes.bar(one.start, part, width, row - 0.4, align="edge", **style)
        axes.set_yticks(range(len(labels)), shown, parse_math=False)
        rest = 0.005 * max(seconds, 1e-3)  # what is at the ends does not hide behind the frame
        axes.set(xlim=(-rest, seconds + rest), ylim=(-0.5, len(labels) - 0.5), xlabel="seconds")
        axes.grid(axis="x", alpha=0.3)
        name = letters.readable(Path(video).name)
        text = f"{name}: height is the score, hatched the context's share"
        axes.set_title(text, fontsize=10, parse_math=False)
        file = io.BytesIO()
        canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


_WRITERS: dict[str, Any] = {".json": _json, ".csv": _csv, ".vtt": _vtt, ".eaf": _eaf, ".png": _png}


def _labels(intervals: Sequence[Interval]) -> list[str]:
    """Lists the classes in the order in which they appear first."""
    return list(dict.fromkeys(str(one.label) for one in intervals))


def _ticks(one: Interval) -> tuple[int, int]:
    """Returns start and end in milliseconds, the end later by one at least."""
    start = round(1000 * one.start)
    return start, max(start + 1, round(1000 * one.end))


def _clock(milliseconds: int) -> str:
    """Formats a time as WebVTT does: 01:02:03.456."""
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _printable(text: str) -> str:
    """Replaces what XML cannot hold."""
    return "".join(c if c >= " " and c not in "\ufffe\uffff" else "\ufffd" for c in text)
