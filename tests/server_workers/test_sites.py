"""Sites that name the same Redis share a client only where they log in alike."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from runtime.clock import ManualClock
from saccade.settings import load_settings
from server_workers.settings import ServerProgramSettings
from server_workers.sites import connect_sites

URL = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(("password", "is_shared"), [("secret", False), (None, True)])
async def test_the_default_keeps_its_password_where_a_site_names_its_address(
    password: str | None, is_shared: bool
) -> None:
    redis = {"url": URL} | ({} if password is None else {"password": password})
    settings = load_settings(
        ServerProgramSettings,
        None,
        {"redis": redis, "server": {"redis_by_site": {"a": URL, "b": URL}}},
        environ={},
    )
    async with AsyncExitStack() as stack:
        sites = await connect_sites(settings, ManualClock(), stack)
        assert sites.of("a") is sites.of("b")
        assert (sites.of("elsewhere") is sites.of("a")) is is_shared
