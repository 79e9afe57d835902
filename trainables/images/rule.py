"""How what 8-bit grey or RGB cannot hold becomes that: one rule for all images of a data set, which
travels with the bundle.

- Integers of more than 8 bits: white is the largest number of as many bits as the brightest value
  of the data set needs, at least 8: 255 where a 16-bit file holds 8-bit values, 4095 where it holds
      12-bit ones, 65535 where it uses all.
- Floating-point numbers: white is 1 where none is larger, else 255, else as for integers.
- Transparency: pictures are laid on white; on black where what is visible of the transparent ones
  is mostly light. Where transparency is the same all over each of them, it shows nothing, and is
  dropped.
- Shape: pictures keep it (``squash``: whoever needs a square resizes both sides), or become squares
  when they are read: their middle (``crop``), or whole with grey beside them (``pad``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from spaces.errors import UserError

if TYPE_CHECKING:  # numpy is loaded where images are: many commands need a rule alone
    import numpy as np
    import numpy.typing as npt

UInt8: TypeAlias = "npt.NDArray[np.uint8]"
Numbers: TypeAlias = "npt.NDArray[Any]"
Color = Literal["grey", "rgb"]
Orientation = Literal["exif", "stored"]
Fit = Literal["squash", "crop", "pad"]
Background = Literal["white", "black", "dropped"]
MOST_BITS = 32
PAD = 128
"""The grey beside pictures that are padded."""


@dataclass(frozen=True)
class Rule:
    """One rule for all images of a data set; what is None was met in none of them.

    Attributes:
        white: value of integers of more than 8 bits that becomes 255; larger ones do too.
        float_white: the same of floating-point numbers.
        background: what shows through transparent parts; ``dropped`` leaves transparency out.
        orientation: whether pictures are turned upright as a camera's tag (EXIF) says, or stay as
            they are stored.
        fit: what becomes of pictures that are no squares.

    Raises:
        ValueError: when made, for a white that is none.
    """

    white: int | None = None
    float_white: float | None = None
    background: Background | None = None
    orientation: Orientation = "stored"
    fit: Fit = "squash"

    def __post_init__(self) -> None:
        if self.white is not None and (self.white < 255 or self.white & (self.white + 1)):
            raise ValueError(
                f"white must be the largest number of 8 bits or more, but got {self.white}"
            )
        if self.float_white is not None and not 0 < self.float_white < math.inf:
            raise ValueError(f"float_white must be a number over 0, but got {self.float_white}")

    def lines(self) -> list[str]:
        """What it says, a sentence each."""
        found = []
        if self.white is not None:
            found.append(
                f"values of more than 8 bits: {self.white:,} becomes white, the largest of "
                f"{self.white.bit_length()} bits"
            )
        if self.float_white is not None:
            found.append(f"floating-point values: {self.float_white:g} becomes white")
        if self.background == "dropped":
            found.append(
                "transparency is the same all over each image that has any, and is left out"
            )
        elif self.background:
            found.append(f"transparent parts are shown as {self.background}")
        if self.fit == "crop":
            found.append("of images that are no squares, the middle square is taken")
        elif self.fit == "pad":
            found.append("images that are no squares are made squares by grey beside them")
        return found


PLAIN = Rule()
FIRST = Rule(65535, None, "dropped")
"""The rule of bundles that name none: whoever wrote them took all 16 bits, and left transparency
out.
"""


@dataclass(frozen=True)
class Needs:
    """What the rule has to be made from, of an image that needs one.

    Attributes:
        top: its largest value, where it has integers of more than 8 bits.
        float_top: its largest value, where it has floating-point numbers.
        uneven: whether it is transparent in some places more than in others; None where it is
            opaque.
        visible: sum of its opacity, 0 to 1 a pixel.
        light: the same sum, each pixel times its brightness, 0 to 1.
    """

    top: int | None = None
    float_top: float | None = None
    uneven: bool | None = None
    visible: float = 0.0
    light: float = 0.0


def completed(rule: Rule, needs: Iterable[Needs]) -> Rule:
    """``rule`` with what it does not say yet decided by all the images that need it."""
    needs = list(needs)
    tops = [need.top for need in needs if need.top is not None]
    float_tops = [need.float_top for need in needs if need.float_top is not None]
    transparent = [need for need in needs if need.uneven is not None]
    return Rule(
        rule.white if rule.white is not None or not tops else white_of(max(tops)),
        rule.float_white
        if rule.float_white is not None or not float_tops
        else float_white_of(max(float_tops)),
        rule.background
        if rule.background is not None or not transparent
        else _background(transparent),
        rule.orientation,
        rule.fit,
    )


def padded(image: UInt8, fit: Fit) -> UInt8:
    """A square with the (H, W) or (H, W, 3) image in its middle, if ``fit`` is ``pad``; else the
    image itself.
    """
    import numpy as np

    side = max(image.shape[:2])
    if fit != "pad" or image.shape[:2] == (side, side):
        return image
    out = np.full((side, side, *image.shape[2:]), PAD, np.uint8)
    top, left = ((side - length) // 2 for length in image.shape[:2])
    out[top : top + image.shape[0], left : left + image.shape[1]] = image
    return out


def middle(width: int, height: int, fit: Fit) -> tuple[int, int, int, int]:
    """Left, upper, right and lower bound of what is taken of an image: all, or its middle square
    if ``fit`` is ``crop``.
    """
    if fit != "crop":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def white_of(top: int) -> int:
    """The largest number of as many bits as ``top`` needs, at least 8."""
    return int((1 << max(8, int(top).bit_length())) - 1)


def float_white_of(top: float) -> float:
    return 1.0 if top <= 1 else 255.0 if top <= 255 else float(white_of(math.ceil(top)))


def _background(transparent: list[Needs]) -> Background:
    if not any(need.uneven for need in transparent):
        return "dropped"
    visible = sum(need.visible for need in transparent)
    return "black" if sum(need.light for need in transparent) > visible / 2 else "white"


def needs_of(values: Numbers, alpha: UInt8 | None = None) -> Needs:
    """What images of these values, and of this opacity, need.

    Args:
        values: of any shape; integers or floating-point numbers.

    Raises:
        UserError: for values that have no place between black and white.
    """
    import numpy as np

    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError("some of its values are no numbers (NaN or infinite)")
    low, top = values.min().item(), values.max().item()
    if low < 0:
        raise UserError(
            f"some of its values are below 0, down to {low:g}; shift and scale them to 0..1 or "
            "0..255"
        )
    if top >= 1 << MOST_BITS:
        raise UserError(
            f"its values reach {top:g}, and none may need more than {MOST_BITS} bits; scale "
            "them to 0..1 or 0..255"
        )
    return Needs(float_top=float(top)) if values.dtype.kind == "f" else Needs(top=int(top))


def to_8_bits(values: Numbers, rule: Rule, *, high_bits: bool = False) -> UInt8:
    """The same shape as uint8: 0 stays, and the rule's white, which must be there, becomes 255.

    Args:
        high_bits: take an integer's highest 8 bits, as Pillow does of 16-bit colour, instead of
            dividing it by what makes its white 255: pictures that use all 16 bits keep what they
                were before there was a rule.
    """
    import numpy as np

    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        assert rule.float_white is not None
        return np.rint(np.clip(values.astype(np.float64) / rule.float_white, 0, 1) * 255).astype(
            np.uint8
        )
    assert rule.white is not None
    if high_bits:
        return (np.minimum(values, rule.white) >> (rule.white.bit_length() - 8)).astype(np.uint8)
    return (np.minimum(values, rule.white).astype(np.uint64) * 255 // rule.white).astype(np.uint8)
