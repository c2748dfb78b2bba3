"""Names the classes that the rendered scenes show: 16 road-sign-like objects and ``none``.

Cues are graded on purpose. A *group* is a colour and an outline, which survive blur and small size; inside
a group two objects differ only by the glyph on their face. A small model finds the group, a larger one also
reads the glyph.
"""

from dataclasses import dataclass

NONE = 0
"""Class index of a view without any object."""

IGNORE = -1
"""Truth of a view that is neither clearly an object nor clearly empty: streamed, counted, never scored."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One class of object: its group and the glyph that tells it apart inside the group."""

    group: str
    glyph: str

    @property
    def name(self) -> str:
        """Class name, ``group_glyph``."""
        return f"{self.group}_{self.glyph}"


SIGNS: tuple[Sign, ...] = (
    Sign("prohibit", "bar"),
    Sign("prohibit", "cross"),
    Sign("warning", "bend_left"),
    Sign("warning", "bend_right"),
    Sign("mandatory", "arrow_left"),
    Sign("mandatory", "arrow_right"),
    Sign("stop", "disc"),
    Sign("stop", "square"),
    Sign("guide", "arrow_up"),
    Sign("guide", "arrow_down"),
    Sign("works", "chevron"),
    Sign("works", "zigzag"),
    Sign("parking", "ring"),
    Sign("parking", "horseshoe"),
    Sign("school", "two_posts"),
    Sign("school", "three_posts"),
)

CLASSES: tuple[str, ...] = ("none", *(sign.name for sign in SIGNS))
"""Class names in the order of the class index; index 0 is ``none``."""

GROUPS: tuple[str, ...] = ("none", *dict.fromkeys(sign.group for sign in SIGNS))
"""Group names; index 0 is ``none``."""

GROUP_OF_CLASS: tuple[int, ...] = (0, *(GROUPS.index(sign.group) for sign in SIGNS))
"""Group index of every class index."""
