"""``saccade topics create|check``: make the topics as the settings want them, or say how they differ."""

from __future__ import annotations

import asyncio
import json

import typer

from runtime.errors import StackError
from runtime.kafka_admin import check_topics, create_topics
from runtime.settings import Settings
from saccade.options import ConfigOption, JsonOption, KafkaOption, SetOption, settings_from
from schemas.topics import TopicSpec, topic_specs

app = typer.Typer(
    help="Create the topics, or check that they are as the settings want them.", no_args_is_help=True
)


@app.command()
def create(config: ConfigOption = None, assign: SetOption = None, kafka: KafkaOption = None) -> None:
    """Create the missing topics; those that exist stay as they are."""
    settings = settings_from(config, assign, kafka=kafka)
    for spec in wanted(settings):
        typer.echo(f"{spec.name}: {spec.partitions} partitions", err=True)
    asyncio.run(create_topics(settings.kafka, wanted(settings)))


@app.command()
def check(
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print each difference between the topics and the settings; exit status 1 if there is one."""
    settings = settings_from(config, assign, kafka=kafka)
    problems = asyncio.run(check_topics(settings.kafka, wanted(settings)))
    for problem in problems:
        typer.echo(json.dumps({"problem": problem}) if as_json else problem)
    if problems:
        raise StackError(f"{len(problems)} differences; saccade topics create makes what is missing")


def wanted(settings: Settings) -> list[TopicSpec]:
    """Return the four topics (frames, offload and their dead letters) as the settings want them."""
    return topic_specs(max_frame_bytes=settings.producer.max_frame_bytes)
