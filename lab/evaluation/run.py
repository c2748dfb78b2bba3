"""`saccade evaluate`: from a request to a report folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from lab.evaluation.catalogue import (
    DEFAULT_BUDGET,
    SDT_SCALE,
    Plan,
    default_treatments,
    full_treatments,
    plan,
    restored_treatments,
)
from lab.evaluation.chunk_store import ChunkStore
from lab.evaluation.corpus import Corpus
from lab.evaluation.loading import FullModel, load_corpus, load_models, load_restorers
from lab.evaluation.measurement import (
    Seen,
    look,
    make_study,
    say_estimate,
    say_first_estimate,
    time_models,
)
from lab.evaluation.methods import setting_of
from lab.evaluation.models import LAST
from lab.evaluation.passes import Answers, AttentionOf, answer, glance_treated
from lab.evaluation.report.measured_sections import setting_text
from lab.evaluation.report.other_server import other_server_section, other_server_treatments
from lab.evaluation.report.page import RunNotes, write_report
from lab.evaluation.reporter import Reporter, TerminalReporter
from lab.evaluation.request import EvaluateRequest
from lab.evaluation.study import Study
from lab.evaluation.treatments import SERVER, Downscaled, Treatment, Whole, low_resolution_source


def evaluate(request: EvaluateRequest, reporter: Reporter | None = None) -> Path:
    """The report is written; returns the path of its page.

    Progress goes to standard error unless a reporter is given. After an interruption the same request goes on
    where it was.

    Raises:
        EvaluationError: data, labels and models do not fit together.
        ModelError: a model cannot be loaded.
    """
    if reporter is None:
        with TerminalReporter() as terminal:
            return evaluate(request, terminal)
    servers = [name for name in (request.server, request.other_server) if name is not None]
    models = load_models(request.edge, servers, request.dtype)
    try:
        if request.stream:
            from lab.evaluation.stream.run import evaluate_stream

            return evaluate_stream(request, models[0], models[1], reporter)
        corpus = load_corpus(
            data=request.data,
            labels=request.labels,
            scenes=request.scenes,
            seed=request.seed,
            limit=request.limit,
            classes=models[0].facts.classes,
            reporter=reporter,
        )
        return measure(request, corpus, models, reporter)
    except KeyboardInterrupt:
        reporter.say(f"stopped; finished work is in {request.cache}, the same command goes on from there")
        raise


def measure(
    request: EvaluateRequest, corpus: Corpus, models: Sequence[FullModel], reporter: Reporter
) -> Path:
    """The report of one corpus is written; returns its page.

    Args:
        models: the edge's, the server's and perhaps another server's.
    """
    begun = time.monotonic()
    store, edge, server = ChunkStore(request.cache), models[0], models[1]
    timings = time_models(corpus, edge, server)
    say_first_estimate(len(corpus.names), timings, None if request.full else DEFAULT_BUDGET, reporter)
    seen = look(corpus, edge, store, reporter, rollouts=True)
    answers = _server_views(seen, server, store, reporter, whole=server is not edge)
    restorers, *named = load_restorers(request.super_resolution, request.masked_autoencoder)
    chosen = _plan(request, seen, server, list(answers), restored_treatments(*named))
    say_estimate(chosen, seen, server, store, timings, reporter)
    reporter.start("server", len(seen.corpus.names) * len(chosen.treatments))
    answers |= answer(seen.corpus, server, chosen.treatments, seen.attention, store, reporter, restorers)
    study = make_study(seen, edge, server, answers)
    notes = RunNotes(
        command=request.command,
        unreadable=seen.unreadable,
        timings=timings,
        equivalents=chosen.total_equivalents,
        left_out=[_text(each) for each in chosen.left_out],
        wall_s=time.monotonic() - begun,
        extra_sections=[_figure_9(study, seen, edge, other, store, reporter) for other in models[2:]],
    )
    reporter.say("writing the report")
    return write_report(request.out, study, notes)


def _server_views(
    seen: Seen, server: FullModel, store: ChunkStore, reporter: Reporter, *, whole: bool
) -> dict[Treatment, Answers]:
    """Return the server's answers where its attention is wanted too, which goes into `seen.attention`."""
    views = [(low_resolution_source(SDT_SCALE), Downscaled(SDT_SCALE))] + (
        [(SERVER, Whole())] if whole else []
    )
    answers: dict[Treatment, Answers] = {}
    for source, treatment in views:
        reporter.start(f"server, {source}", len(seen.corpus.names))
        answers[treatment], attention = glance_treated(seen.corpus, server, treatment, LAST, store, reporter)
        seen.attention[source] = AttentionOf(attention.rows, f"{attention.identity}:{source}")
    return answers


def _plan(
    request: EvaluateRequest,
    seen: Seen,
    server: FullModel,
    done: Sequence[Treatment],
    asked: Sequence[Treatment],
) -> Plan:
    """Return what to run; treatments that were asked for come first."""
    wanted = full_treatments(seen.rows) if request.full else default_treatments(seen.rows)
    facts = server.facts
    return plan(
        [treatment for treatment in (Whole(), *asked, *wanted) if treatment not in done],
        seen.rows,
        len(seen.corpus.names),
        embed_dim=facts.embed_dim,
        depth=facts.depth,
        budget=None if request.full else DEFAULT_BUDGET,
        already=float(len(done)),
    )


def _figure_9(
    study: Study, seen: Seen, edge: FullModel, other: FullModel, store: ChunkStore, reporter: Reporter
) -> str:
    wanted = other_server_treatments()
    reporter.start(f"other server, {other.facts.name}", len(seen.corpus.names) * len(wanted))
    answers = answer(seen.corpus, other, wanted, seen.attention, store, reporter)
    return other_server_section(study, make_study(seen, edge, other, answers))


def _text(treatment: Treatment) -> str:
    setting = setting_of(treatment)
    return type(treatment).__name__ if setting is None else setting_text(setting)
