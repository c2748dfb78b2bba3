"""Server reports: exact as JSON, refused when a field is wrong."""

from __future__ import annotations

import json

import pytest

from schemas.errors import DecodeError
from schemas.server_report import ServerReport, decode_report, encode_report

REPORT = ServerReport(
    server="s-1",
    site="north",
    sent_ns=5,
    interval_s=1.0,
    received=40,
    finals_in_time=38,
    expired=2,
    queue_age_s=0.25,
    tokens_per_s=5_300.5,
    model="5eed",
)


def test_a_report_round_trips() -> None:
    assert decode_report(encode_report(REPORT)) == REPORT


def test_a_report_of_an_older_server_names_no_model() -> None:
    plain = json.loads(encode_report(REPORT))
    del plain["model"]
    assert decode_report(json.dumps(plain)).model == ""


@pytest.mark.parametrize("field", ["sent_ns", "expired", "queue_age_s"])
def test_a_bad_field_is_named(field: str) -> None:
    plain = json.loads(encode_report(REPORT)) | {field: -1}
    with pytest.raises(DecodeError, match=field):
        decode_report(json.dumps(plain))


def test_no_json_is_refused() -> None:
    with pytest.raises(DecodeError, match="server report"):
        decode_report("{")
