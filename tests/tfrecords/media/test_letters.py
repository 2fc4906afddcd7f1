"""Text in pictures: every script is drawn, by a font that has it or as an escape."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tfrecords.media import letters, pictures


class Some(letters.Font):
    """A font of the system that has some characters; its letters look like the usual ones."""

    def __init__(self, characters: str):
        super().__init__(letters.usual().path)
        self.characters = {ord(character): 1 for character in characters}


@pytest.fixture
def system(monkeypatch):
    """Sets the fonts of the system."""
    letters.usual()

    def install(*fonts: letters.Font):
        for cached in (letters._find, letters._fit):
            cached.cache_clear()
        letters._said.clear()
        monkeypatch.setattr(letters, "others", lambda: list(fonts))
        return fonts

    yield install
    install()


def test_what_no_font_has_is_an_escape_and_said_once(system, caplog):
    system()
    with caplog.at_level(logging.WARNING):
        assert letters.readable("jump \u8df3, run \U0001f3c3") == r"jump \u8df3, run \U0001f3c3"
        letters.readable("\u821e")
    (said,) = caplog.messages
    assert said.startswith("Warning: no font of this machine has all characters of 'jump \\u8df3")


@pytest.mark.parametrize(
    "text", ["Übung", "прыжок", "άλμα", "קפיצה", "قفز", "e\u0301te\u0301", "a\u200db", ""]
)
def test_usual_scripts_need_no_other_font(system, text):
    system()
    assert letters.readable(text).replace("\u200d", "") == text.replace("\u200d", "")
    assert {font for _, font in letters.runs(text)} <= {letters.usual()}


@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\u2028", "\udce9"])
def test_a_line_stays_a_line(system, character):
    system()
    assert letters.readable(f"a{character}b") == f"a{ascii(character)[1:-1]}b"
    assert pictures.text_bar(200, 24, [f"a{character}b"]).max() > 150


def test_a_text_changes_fonts_as_seldom_as_it_can(system):
    first, second = system(Some("跳 舞"), Some("跳กา"))
    assert letters.runs("jump 跳 舞กา!") == [
        ("jump ", letters.usual()),
        ("跳 舞", first),
        ("กา", second),
        ("!", letters.usual()),
    ]
    assert letters.paths(["jump", "跳"]) == [letters.usual().path, first.path]


def test_files_that_are_no_fonts_are_passed_over(tmp_path):
    (tmp_path / "a.ttf").write_bytes(b"no font")
    assert not letters.Font(str(tmp_path / "a.ttf")).has("a")


@pytest.mark.parametrize("width", [-3, 0, 5, 40, 100])
def test_a_text_keeps_within_its_width(system, width):
    system(Some("跳"))
    picture = Image.new("RGB", (300, 30))
    letters.write(ImageDraw.Draw(picture), (10, 5), "running 跳 " * 9, 14, (255, 255, 255), width)
    columns = np.flatnonzero(np.asarray(picture).any((0, 2)))
    assert not len(columns) or (columns[0] >= 9 and columns[-1] <= 10 + width)
    assert bool(len(columns)) == (width >= 40)
