"""Removes people from photographs, and fills decoys.

1. the hole: the boxes of all who do the action, together, and a margin;
2. it is filled, by OpenCV or by a completion network (`fillers`);
3. its seam is blended into what surrounds it (`blending`).

A filling can be seen, and a network that learns to see it knows a conjugate without knowing the
action. Against that: a decoy, the same filling of a hole as large, away from all people, in the
picture that keeps its people. Then a filling says nothing.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Optional

import cv2
import numpy as np

from tfrecords.conjugates.blending import FEATHER, blend
from tfrecords.conjugates.fillers import Filler, Network, telea

BOX_MARGIN = 4 / 240  # of the picture's shorter side: a box holds the person already
MASK_MARGIN = 8 / 240  # the box around a mask is without hair and shoes, as the mask is
LEAST_MARGIN = FEATHER + 1  # pixels
MIN_CONTEXT = 0.05  # share of the picture that must be left for it to be a conjugate


class Erased(NamedTuple):
    """A photograph and its conjugate, uint8 [H, W, 3].

    conjugate: The photograph without those who act; None if (nearly) nothing would be left.
    decoy: Whether the photograph has a decoy.
    """

    picture: np.ndarray
    conjugate: Optional[np.ndarray] = None
    decoy: bool = False


class Eraser:
    """Removes people from photographs.

    Args:
        filler: "telea" (default), or the folder of an exported completion network.
        blending: Blending of the seam: "poisson" (default), "feather" or "none".
        decoys: Whether photographs get a decoy, default False.

    Attributes:
        plan: Settings on which the bytes of records depend, for `build.json`.

    Raises:
        UsageError: If that folder holds no network.
    """

    def __init__(self, filler: str = "telea", blending: str = "poisson", decoys: bool = False):
        self.plan: dict[str, object] = {"blend": blending}
        self._fill: Filler = telea
        if filler != "telea":
            network = Network(filler)
            self._fill, self.plan["filler"] = network, network.digest
        if decoys:
            self.plan["decoys"] = True
        self._blending = blending
        self._decoys = decoys

    def erase(self, picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """Fills and blends a hole in a picture; pixels outside it stay bit for bit the same.

        Args:
            picture: Picture, uint8 [H, W, 3].
            hole: Map of the hole, bool [H, W], not all True.

        Raises:
            ValueError: If the hole is the whole picture, so that nothing says how to fill it.
        """
        if hole.all():
            raise ValueError("Expected a hole that leaves something of the picture. Received all.")
        if not hole.any():
            return picture
        return blend(picture, self._fill(picture, hole), hole, self._blending)

    def pair(
        self,
        picture: np.ndarray,
        actors: np.ndarray,
        margin: float,
        people: Optional[np.ndarray] = None,
        seed: str = "",
    ) -> Erased:
        """Returns a photograph and the same without those who act.

        Args:
            picture: Picture, uint8 [H, W, 3].
            actors: Map of all who do the action, bool [H, W].
            margin: Reach of the hole beyond them, as a share of the shorter side.
            people: Map of all people, acting or not, bool [H, W]: a decoy may not lie there. None
                (default): no decoy.
            seed: Name that decides where the decoy lies.
        """
        radius = max(LEAST_MARGIN, round(margin * min(picture.shape[:2])))
        hole = grow(actors, radius)
        if not hole.any() or hole.mean() > 1 - MIN_CONTEXT:
            return Erased(picture)
        conjugate = self.erase(picture, hole)
        if people is None or not self._decoys:
            return Erased(picture, conjugate)
        digest = hashlib.sha256(seed.encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        decoy = find_decoy(hole, grow(people, radius) | hole, rng)
        if decoy is None:
            return Erased(picture, conjugate)
        return Erased(self.erase(picture, decoy), conjugate, True)


def find_decoy(
    hole: np.ndarray, taken: np.ndarray, rng: np.random.Generator
) -> Optional[np.ndarray]:
    """Draws a hole of the same size elsewhere.

    The parts of the hole are laid one after the other, the largest first, each on a random place
    inside the picture that is not taken. A part that fits nowhere becomes as
    many of the free pixels, those nearest to one of them that is drawn.

    Args:
        hole: Map of the hole, bool [H, W].
        taken: Map of pixels where the decoy may not lie, bool [H, W].
        rng: Generator that draws the places.

    Returns:
        The map of the decoy, bool [H, W]; None if too few pixels are free.
    """
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(hole.astype(np.uint8))
    taken, decoy = taken.copy(), np.zeros_like(hole)
    for part in sorted(range(1, count), key=lambda n: -boxes[n, cv2.CC_STAT_AREA]):
        left, top, width, height, area = boxes[part]
        shape = parts[top : top + height, left : left + width] == part
        laid = _lay(shape, taken, rng)
        if laid is None:
            laid = _gather(area, taken, rng)
        if laid is None:
            return None
        decoy |= laid
        taken |= laid
    return decoy


def _lay(shape: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> Optional[np.ndarray]:
    """Lays the shape, bool [h, w], on a random free place: bool [H, W]; None if it fits nowhere."""
    height, width = shape.shape
    rows, columns = taken.shape[0] - height + 1, taken.shape[1] - width + 1
    if rows < 1 or columns < 1:
        return None
    covered = cv2.filter2D(
        taken.astype(np.float32),
        -1,
        shape.astype(np.float32),
        anchor=(0, 0),
        borderType=cv2.BORDER_CONSTANT,
    )  # [y, x]: pixels of the shape that lie on what is taken, its corner at (y, x)
    places = np.argwhere(covered[:rows, :columns] < 0.5)
    if not len(places):
        return None
    top, left = places[rng.integers(len(places))]
    laid = np.zeros_like(taken)
    laid[top : top + height, left : left + width] = shape
    return laid


def _gather(area: int, taken: np.ndarray, rng: np.random.Generator) -> Optional[np.ndarray]:
    """Takes `area` free pixels around one of them: bool [H, W]; None if there are too few."""
    free = np.argwhere(~taken)
    if len(free) < area:
        return None
    distance = ((free - free[rng.integers(len(free))]) ** 2).sum(axis=1)
    y, x = free[np.argsort(distance, kind="stable")[:area]].T
    laid = np.zeros_like(taken)
    laid[y, x] = True
    return laid


def grow(mask: np.ndarray, radius: float) -> np.ndarray:
    """Dilates a bool map by a disc of `radius` pixels."""
    if not mask.any():
        return mask
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    return distance <= radius
