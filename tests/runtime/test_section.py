"""Numbers of the settings may carry their units."""

from __future__ import annotations

import pytest

from producers.settings import ProducerProgramSettings
from runtime.section import in_own_unit
from runtime.settings_loader import load_settings
from schemas.errors import SettingsError


@pytest.mark.parametrize(
    ("name", "text", "number"),
    [
        ("drain_s", "2m", 120), ("drain_s", "2 min", 120), ("drain_s", "500ms", 0.5), ("drain_s", "1.5 h", 5400),
        ("linger_ms", "2s", 2000), ("linger_ms", "250 ms", 250), ("max_frame_bytes", "4MB", 4_000_000),
        ("max_frame_bytes", "4 MiB", 4 * 2**20), ("fps", "5fps", 5), ("fps", "5 fps", 5), ("fps", "0.5/s", 0.5),
    ],
)  # fmt: skip
def test_a_number_may_have_a_unit_of_its_kind(name: str, text: str, number: float) -> None:
    assert in_own_unit(name, text) == number


@pytest.mark.parametrize(
    ("name", "value"),
    [("drain_s", "2MB"), ("drain_s", "5"), ("drain_s", "s"), ("drain_s", 5), ("url", "5s"), ("fps", "5s")],
)
def test_everything_else_stays_as_it_is(name: str, value: object) -> None:
    assert in_own_unit(name, value) is value


def test_settings_take_units_from_files_variables_and_flags() -> None:
    loaded = load_settings(
        ProducerProgramSettings,
        None,
        {"producer": {"fps": "12 fps"}},
        {"SACCADE__PRODUCER__DRAIN_S": "2m", "SACCADE__PRODUCER__MAX_FRAME_BYTES": "1MiB"},
    )
    assert (loaded.producer.fps, loaded.producer.drain_s, loaded.producer.max_frame_bytes) == (12, 120, 2**20)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (
            "drain_s",
            "soon",
            "producer.drain_s = 'soon': must be a number of seconds, such as 10, 2m or 500ms",
        ),
        ("fps", "29,97", "producer.fps = '29,97': must be a number of frames per second, such as 5 or 0.2"),
        ("queue_frames", "many", "producer.queue_frames = 'many': must be a number"),
        ("drain_s", "2h", "producer.drain_s = 7200: must be less than or equal to 600"),
    ],
)
def test_what_is_no_number_is_told_with_the_unit(key: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(ProducerProgramSettings, None, {"producer": {key: value}}, {})
    assert str(error.value) == told
