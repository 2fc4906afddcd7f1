r"""Writes text into pictures, in every script that a font of this machine has.

DejaVu Sans, which comes with matplotlib, knows Latin, Greek, Cyrillic, Hebrew, Arabic and others.
What it lacks, such as Chinese, Devanagari or Thai, is looked for in the packages of the extra
`fonts` and in the fonts of the system; what these lack too is written as an escape, such as \u8df3.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, cached_property, lru_cache
from importlib import metadata
from itertools import chain
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

logger = logging.getLogger(__name__)

# Of the extra `fonts` in setup.py.
PACKAGES = (
    "noto-cjk-sans-jp-regular",
    *(
        f"fontpkg-noto-sans-{script}"
        for script in ("devanagari", "khmer", "tamil", "telugu", "thai")
    ),
)
# Of two fonts of a script, plain ones come first; some show every character as a box.
_FANCY = re.compile(r"bold|italic|oblique|thin|light|black|condensed|mono|serif", re.IGNORECASE)
_BOXES = re.compile(r"last-?resort|blank", re.IGNORECASE)
_NEVER = ("Cc", "Cs", "Zl", "Zp")  # categories: controls, halves of pairs, ends of lines
_said: List[str] = []  # the text of the one warning


class Font:
    """A font file."""

    def __init__(self, path: str):
        self.path = path

    @cached_property
    def characters(self) -> Collection[int]:
        """The characters that it has; none if its letters cannot be drawn in every size."""
        from matplotlib.ft2font import FT2Font

        try:
            self.sized(16)
            return FT2Font(self.path).get_charmap()
        except (OSError, RuntimeError, ValueError):
            return ()

    def has(self, character: str) -> bool:
        """Returns whether it can show a character."""
        return ord(character) in self.characters and unicodedata.category(character) not in _NEVER

    def sized(self, size: int) -> FreeTypeFont:
        """Returns it in a size, pixels."""
        return _load(self.path, size)


@lru_cache(maxsize=64)
def _load(path: str, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(path, size)


@cache
def usual() -> Font:
    """Returns DejaVu Sans."""
    import matplotlib

    return Font(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@cache
def others() -> List[Font]:
    """Returns the fonts of the extra `fonts` and those of the system, plain ones first."""
    from matplotlib import font_manager

    found = [path for path in font_manager.findSystemFonts() if not _BOXES.search(path)]
    found.sort(key=lambda path: (bool(_FANCY.search(os.path.basename(path))), path))
    return [Font(path) for path in (*_packaged(), *found)]


def _packaged() -> Iterator[str]:
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            for file in metadata.files(name) or ():
                if file.suffix in (".ttf", ".otf"):
                    yield str(file.locate())


@lru_cache(maxsize=4096)
def _find(character: str) -> Optional[Font]:
    # Lazily: the system is asked only if needed.
    candidates = chain([usual()], (font for font in others()))
    return next((font for font in candidates if font.has(character)), None)


def runs(text: str) -> List[Tuple[str, Optional[Font]]]:
    """Splits a text into parts with a font for each; None: there is no font."""
    parts: List[Tuple[str, Optional[Font]]] = []
    font: Optional[Font] = usual()
    for character in text:
        if font is None or not font.has(character):
            code = ord(character)
            if unicodedata.category(character) == "Cf" or 0xFE00 <= code <= 0xFE0F:
                continue  # invisible: it joins letters, or chooses between their forms
            font = _find(character)
        if parts and parts[-1][1] is font:
            parts[-1] = (parts[-1][0] + character, font)
        else:
            parts.append((character, font))
    return parts


def readable(text: str) -> str:
    """Replaces what no font has by escapes, and says so once."""
    shown = ""
    for part, font in runs(text):
        if font is None:
            part = ascii(part)[1:-1]
            if not _said:
                _said.append(text)
                logger.warning(
                    f"Warning: no font of this machine has all characters of {text!a}: in pictures "
                    "they are escapes; pip install 'aacf-tf[fonts]' brings the most usual."
                )
        shown += part
    return shown


def paths(texts: Iterable[str]) -> List[str]:
    """Returns the files of the fonts that texts need, the usual one first."""
    needed = {font: None for text in texts for _, font in runs(text) if font is not None}
    return [font.path for font in {usual(): None, **needed}]


def line_height(size: int) -> int:
    """Returns the height of a line, pixels."""
    return sum(usual().sized(size).getmetrics())


def write(
    pen: ImageDraw, corner: Sequence[float], text: str, size: int, color: Any, width: int
) -> None:
    """Writes a line of text.

    Args:
        pen: Pillow's drawing of the picture.
        corner: Left and top of the line, pixels.
        text: The text, in any script.
        size: Size of the letters, pixels.
        color: RGB.
        width: Width to which the text is cut, with an ellipsis, pixels.
    """
    left, top = corner
    baseline = top + usual().sized(size).getmetrics()[0]
    for part, letters in _fit(text, size, width):
        pen.text((left, baseline), part, color, letters, anchor="ls")
        left += letters.getlength(part)


@lru_cache(maxsize=256)  # all frames of a video have the same titles
def _fit(text: str, size: int, width: int) -> List[Tuple[str, FreeTypeFont]]:
    """Splits a text into parts with a font for each, cut to a width in pixels."""
    whole = readable(text)
    kept = min(len(whole), width)  # no letter is narrower than a pixel
    while kept > 0:
        shown = whole if kept == len(whole) else whole[:kept].rstrip() + "…"
        parts = [(part, font.sized(size)) for part, font in runs(shown) if font is not None]
        if sum(letters.getlength(part) for part, letters in parts) <= width:
            return parts
        kept -= 1
    return []
