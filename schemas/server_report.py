"""What one server worker tells the sites each second through Redis: how much it finishes in time.

Written by server workers, read by the controller: the affordable rate is bounded by what the servers finish.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from schemas.errors import decodes
from schemas.fields import Fields
from schemas.limits import MAX_NAME_CHARS, MAX_TIME_NS

_MAX_COUNT = 2**53


@dataclass(frozen=True, slots=True)
class ServerReport:
    """One server worker's last interval, for one site.

    Counts are over `interval_s`: `finals_in_time` labels written before their deadline, `expired` records
    that were too late on arrival, `received` records taken. `queue_age_s` is the age of the oldest waiting
    record, `tokens_per_s` what the engine computed. `sent_ns` is on the clock of the Redis that holds it. `model`
    is the hash of the server's weights, empty where an older server does not tell.
    """

    server: str
    site: str
    sent_ns: int
    interval_s: float
    received: int
    finals_in_time: int
    expired: int
    queue_age_s: float
    tokens_per_s: float
    model: str = ""


def encode_report(report: ServerReport) -> str:
    """The report as one line of JSON."""
    return json.dumps(asdict(report), separators=(",", ":"), allow_nan=False)


@decodes
def decode_report(text: str) -> ServerReport:
    """The report of `encode_report`; raises `DecodeError` naming the field."""
    fields = Fields.of_json("server report", text)
    return ServerReport(
        server=fields.text("server", MAX_NAME_CHARS),
        site=fields.text("site", MAX_NAME_CHARS),
        sent_ns=fields.integer("sent_ns", 0, MAX_TIME_NS),
        interval_s=fields.number("interval_s", 0.0),
        received=fields.integer("received", 0, _MAX_COUNT),
        finals_in_time=fields.integer("finals_in_time", 0, _MAX_COUNT),
        expired=fields.integer("expired", 0, _MAX_COUNT),
        queue_age_s=fields.number("queue_age_s", 0.0),
        tokens_per_s=fields.number("tokens_per_s", 0.0),
        model="" if fields.is_null("model") else fields.text("model", MAX_NAME_CHARS),
    )
