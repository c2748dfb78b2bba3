"""``saccade topics create|check``: make the topics as the settings want them, or say how they differ."""

from __future__ import annotations

import json

import typer

from saccade.event_loop import run
from saccade.options import ConfigOption, JsonOption, KafkaOption, SetOption, settings_from
from schemas.errors import StackError

app = typer.Typer(
    help="Create the topics, or check that they are as the settings want them.", no_args_is_help=True
)


@app.command()
def create(
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the missing topics. Those that exist stay as they are; how they differ is told on stderr."""
    from runtime.kafka_admin import check_pipeline_topics, create_pipeline_topics, pipeline_topics

    settings = settings_from(config, assign, kafka=kafka)
    made = run(create_pipeline_topics(settings))
    for spec in pipeline_topics(settings):
        if as_json:
            topic = {"topic": spec.name, "partitions": spec.partitions, "made": spec.name in made}
            typer.echo(json.dumps(topic))
        elif spec.name in made:
            typer.echo(f"{spec.name}: made with {spec.partitions} partitions")
        else:
            typer.echo(f"{spec.name}: was there")
    for problem in run(check_pipeline_topics(settings)):
        typer.echo(problem, err=True)


@app.command()
def check(
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print each difference between the topics and the settings; exit status 1 if there is one."""
    from runtime.kafka_admin import check_pipeline_topics

    settings = settings_from(config, assign, kafka=kafka)
    problems = run(check_pipeline_topics(settings))
    for problem in problems:
        typer.echo(json.dumps({"problem": problem}) if as_json else problem)
    if problems:
        raise StackError(f"{len(problems)} differences; saccade topics create makes what is missing")
