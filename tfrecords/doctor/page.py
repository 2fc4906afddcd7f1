"""Writes what the doctor found as a self-contained page, with pictures of the clips it decoded."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import jinja2
import numpy as np

from tfrecords.doctor.findings import Clip, Findings
from tfrecords.show.contact_sheet import make_row
from tfrecords.utils.atomic import StrPath, write_text

QUALITY = 85  # of the JPEGs


class Shown(NamedTuple):
    """A clip as the page shows it: texts, and pictures as data URLs."""

    labels: str
    caption: str
    pictures: list[str]


def write_page(found: Findings, path: StrPath) -> None:
    """Writes the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    clips = [_show(clip) for clip in found.clips]
    write_text(path, environment.get_template("page.html").render(found=found, clips=clips))


def _show(clip: Clip) -> Shown:
    """Puts frames of a clip beside each other, and those of its conjugate, if it has one."""
    pair = clip.pair
    row = make_row(pair if pair.conjugate is not None else replace(pair, conjugate=pair.clip))
    caption = row.caption
    pictures = [row.clip, row.conjugate]
    if pair.conjugate is None:
        caption, pictures = f"{pair.id}    no conjugate", pictures[:1]
    if clip.cuts:
        caption += f"    cuts inside: {clip.cuts}"
    return Shown(row.labels, caption, [_url(picture) for picture in pictures])


def _url(picture: np.ndarray) -> str:
    done, content = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()
