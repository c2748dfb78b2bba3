"""Fig. 9: the same edge with another server. Pure."""

import numpy as np

from lab.evaluation.catalogue import PAPER_DELTAS
from lab.evaluation.gates import PAPER_TAUS, offloaded
from lab.evaluation.points import Setting, make_point
from lab.evaluation.report.markdown import giga, percent, table
from lab.evaluation.selection import Rule
from lab.evaluation.study import Study
from lab.evaluation.treatments import Ranked, Treatment, Whole


def other_server_treatments() -> list[Treatment]:
    """Return the payloads that Fig. 9 needs: the paper's deltas with raw patches, and the raw whole image."""
    return [Whole(), *(Ranked(Rule("attention_sum", delta)) for delta in PAPER_DELTAS)]


def other_server_section(study: Study, other: Study) -> str:
    """Return both servers' accuracy over the paper's grid, at equal offload ratio and patches."""
    rows = []
    for tau in PAPER_TAUS:
        for delta in PAPER_DELTAS:
            treatment = Ranked(Rule("attention_sum", delta))
            if treatment not in study.answers:
                continue
            setting = Setting("saccade", "min_entropy", tau, "attention_sum", delta, 1, "raw", 0)
            offload = offloaded(study.h_min, tau)
            one, two = (
                make_point(each, setting, offload, each.payload(treatment)) for each in (study, other)
            )
            rows.append(
                [
                    f"{tau:g}",
                    f"{delta:g}",
                    f"{one.figures.patch_cost:.3f}",
                    percent(one.figures.accuracy),
                    giga(one.figures.server_macs),
                    percent(two.figures.accuracy),
                    giga(two.figures.server_macs),
                ]
            )
    top1 = [percent(float(np.mean(each.server_correct))) for each in (study, other)]
    return (
        f"### Fig. 9: another server\n\n{study.server.name} ({top1[0]} % alone) and {other.server.name} "
        f"({top1[1]} % alone) behind the same edge, raw patches. The paper prints no values for its "
        "DeiT-S.\n\n"
        + table(["τ", "δ", "cost", study.server.name, "GMACs", other.server.name, "GMACs"], rows)
    )
