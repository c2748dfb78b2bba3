"""Fig. 9: the same edge with another server. Pure."""

import numpy as np

from lab.evaluation.experiments import PAPER_DELTAS
from lab.evaluation.gates import PAPER_TAUS, offloaded
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.points import Setting, make_point
from lab.evaluation.report.markdown import giga, percent, table
from lab.evaluation.schemes import Ranked, Scheme, Whole
from lab.evaluation.selection import Rule


def other_server_schemes() -> list[Scheme]:
    """Return the payloads that Fig. 9 needs: the paper's deltas with raw patches, and the raw whole image."""
    return [Whole(), *(Ranked(Rule("attention_sum", delta)) for delta in PAPER_DELTAS)]


def other_server_section(pairs: PairedPredictions, other: PairedPredictions) -> str:
    """Return both servers' accuracy over the paper's grid, at equal offload ratio and patches."""
    rows = []
    for tau in PAPER_TAUS:
        for delta in PAPER_DELTAS:
            scheme = Ranked(Rule("attention_sum", delta))
            if scheme not in pairs.answers:
                continue
            setting = Setting("saccade", "min_entropy", tau, "attention_sum", delta, 1, "raw", 0)
            offload = offloaded(pairs.h_min, tau)
            one, two = (make_point(each, setting, offload, each.payload(scheme)) for each in (pairs, other))
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
    top1 = [percent(float(np.mean(each.server_correct))) for each in (pairs, other)]
    return (
        f"### Fig. 9: another server\n\n{pairs.server.name} ({top1[0]} % alone) and {other.server.name} "
        f"({top1[1]} % alone) behind the same edge, raw patches. The paper prints no values for its "
        "DeiT-S.\n\n"
        + table(["τ", "δ", "cost", pairs.server.name, "GMACs", other.server.name, "GMACs"], rows)
    )
