"""The one error of model loading. Must not import torch, so that a command line can catch it cheaply."""

from __future__ import annotations


class ModelError(Exception):
    """A model cannot be loaded, is of a kind that cannot run here, or does not fit its partner.

    `str()` is one line that names the model, what is wrong and the way out.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().split())
