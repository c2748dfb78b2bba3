"""One camera as the user asked for it: `NAME=SOURCE` and how to pace it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from producers.drop_queue import DropPolicy
from producers.region import WHOLE, Region
from producers.sources.registry import parse_source
from producers.sources.source import Source
from schemas.errors import DecodeError, SettingsError
from schemas.identity import check_camera

MAX_FPS = 1000.0


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """A camera to publish.

    Attributes:
        name: its name within the site.
        source: where its pictures come from.
        fps: frames per second, None takes the setting. Streams and webcams: the most that is kept, 0 all.
            Videos: played in real time and thinned out to this rate. Folders and rendered scenes: the rate of
            their pictures. 0 is all of them, as fast as possible.
        loop: start a file again at its end, for ever.
        limit: stop after this many published frames, None for no limit.
        drop: what a full queue drops; None takes the setting.
        site: whose camera it is; None takes the setting.
        region: what of its picture is sent.
    """

    name: str
    source: Source
    fps: float | None = None
    loop: bool = False
    limit: int | None = None
    drop: DropPolicy | None = None
    site: str | None = None
    region: Region = WHOLE

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            SettingsError: names the camera, the value and what is allowed.
        """
        try:
            check_camera("", self.name)
        except DecodeError as error:
            raise SettingsError(str(error)) from None
        if self.fps is not None and not (0 <= self.fps <= MAX_FPS and math.isfinite(self.fps)):
            raise SettingsError(f"camera {self.name}: fps {self.fps:g}, want 0 to {MAX_FPS:g}")
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f"camera {self.name}: limit {self.limit}, want at least 1")

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        fps: float | None = None,
        loop: bool = False,
        limit: int | None = None,
        drop: DropPolicy | None = None,
        site: str | None = None,
        region: Region = WHOLE,
    ) -> CameraSpec:
        """Return the camera that `NAME=SOURCE` names.

        Raises:
            SettingsError: one line that says what is wrong, without credentials.
        """
        name, equals, source = text.partition("=")
        if not equals or "://" in name:
            raise SettingsError(
                "camera: want NAME=SOURCE, such as front=rtsp://host/stream or photos=./photos"
            )
        return cls(
            name=name.strip(),
            source=parse_source(source),
            fps=fps,
            loop=loop,
            limit=limit,
            drop=drop,
            site=site,
            region=region,
        )

    @property
    def live(self) -> bool:
        """Whether its frames can grow too old."""
        return self.source.live

    @property
    def self_paced(self) -> bool:
        """Whether it sets its own pace, can be lost, and is then tried again."""
        return self.source.self_paced

    def drop_policy(self, setting: str) -> DropPolicy:
        """Return the policy in force: the camera's, else the setting's, else (`auto`) the kind's."""
        if self.drop is not None:
            return self.drop
        if setting != "auto":
            return DropPolicy(setting)
        return DropPolicy.OLDEST if self.live else DropPolicy.NEVER

    def site_or(self, site: str) -> str:
        """Return the camera's own site, `site` where it names none."""
        return site if self.site is None else self.site

    def __str__(self) -> str:
        return f"{self.name}={self.source.shown}"


def check_names(cameras: Iterable[CameraSpec], *, site: str = "", at_least: int = 1) -> None:
    """Return when there are cameras enough and no name comes twice within a site; `site` is the setting's.

    Raises:
        SettingsError: names the camera.
    """
    counts = Counter((camera.site_or(site), camera.name) for camera in cameras)
    if len(counts) < at_least:
        raise SettingsError(
            "cameras: there is none; want at least one --camera NAME=SOURCE, or --cameras FILE"
        )
    (_, name), count = counts.most_common(1)[0] if counts else (("", ""), 0)
    if count > 1:
        raise SettingsError(f"cameras: {name!r} twice; every camera needs a name of its own")
