"""What timm knows about a model by its name: shape, normalisation, where its weights lie on the hub.

Called by vit/weights.py only.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import nn

from schemas.errors import ModelError

Rgb = tuple[float, float, float]

ANSWER_S = 10.0
"""How long the hub may take to say that it has the weights."""
_WEIGHTS = "model.safetensors"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preset:
    """A model that timm can build; `classes` is empty where timm has no names for them."""

    name: str
    mean: Rgb
    std: Rgb
    classes: tuple[str, ...] = ()

    def build(self, num_classes: int) -> nn.Module:
        """Return the model without storage (device meta)."""
        try:
            with torch.device("meta"):
                return timm.create_model(self.name, pretrained=False, num_classes=num_classes)
        except Exception as error:  # timm raises whatever a model's constructor does
            raise ModelError(f"model {self.name}: timm cannot build it ({error})") from error


def is_known(name: str) -> bool:
    """Return whether timm has a model of this name."""
    return bool(name) and timm.is_model(name)


def preset_of(name: str) -> Preset:
    """Return what timm knows about a name; ModelError where it knows none such."""
    if not is_known(name):
        near = difflib.get_close_matches(name, timm.list_models("*patch16_224*"), n=2, cutoff=0.4)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ModelError(
            f"model {name}: neither a file, a folder, 'shipped' nor a name that timm knows{hint}"
        )
    config = _config(name)
    return Preset(name, _rgb(config.mean), _rgb(config.std), tuple(config.label_names or ()))


def preset_of_config(path: Path) -> Preset:
    """Return the preset of the config.json that timm writes beside a model's weights."""
    try:
        config = json.loads(path.read_text())
        preset = preset_of(str(config["architecture"]))
        details: dict[str, Any] = config.get("pretrained_cfg", {})
        return Preset(
            name=preset.name,
            mean=_rgb(details.get("mean", preset.mean)),
            std=_rgb(details.get("std", preset.std)),
            classes=tuple(config.get("label_names") or preset.classes),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"model {path}: not timm's config.json ({error!r})") from error


def download(preset: Preset, other_ways: str) -> Path:
    """Return the local copy of a model's pretrained safetensors; the hub is asked only where there is none.

    A hub from which nothing is heard for `ANSWER_S` is given up; its name is logged before it is asked.

    Raises:
        ModelError: no weights there, or a hub that does not answer; ends with `other_ways`.
    """
    import huggingface_hub as hub
    from huggingface_hub.utils import logging as hub_logging

    name = preset.name
    hub_id = _config(name).hf_hub_id
    if not hub_id:
        raise ModelError(f"model {name}: timm has no pretrained weights for it on the hub; {other_ways}")
    cached = hub.try_to_load_from_cache(hub_id, _WEIGHTS)
    if isinstance(cached, str):
        return Path(cached)
    host = hub.constants.ENDPOINT
    _log.warning("model %s: asking %s for the weights of %s", name, host, hub_id)
    # Its warning for each retry would bury the one line that matters.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        # Asked once and briefly first: the download itself asks five times and waits long in between.
        _within(
            ANSWER_S, lambda: hub.get_hf_file_metadata(hub.hf_hub_url(hub_id, _WEIGHTS), timeout=ANSWER_S)
        )
        return Path(hub.hf_hub_download(hub_id, _WEIGHTS))
    except Exception as error:  # network, authorisation, cache: the hub client raises a dozen kinds
        raise ModelError(f"model {name}: {host} gave no weights ({_root(error)}); {other_ways}") from error


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Return when the call has; raises what it raises, or TimeoutError.

    The call runs on a thread of its own, which nothing waits for: looking up a name cannot be cut short.
    """
    done: Queue[BaseException | None] = Queue()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised where the call was made
            done.put(error)
        else:
            done.put(None)

    Thread(target=run, name="hub", daemon=True).start()
    try:
        error = done.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if error is not None:
        raise error


def _root(error: BaseException) -> str:
    """Return the first line of the innermost cause, such as the name that did not resolve."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    return str(error).split("\n", maxsplit=1)[0] or type(error).__name__


def _config(name: str) -> PretrainedCfg:
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag after the name's dot
        raise ModelError(f"model {name}: {error}") from error
    return config or PretrainedCfg()


def _rgb(values: Any) -> Rgb:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
