import pytest

from lab.training.optimise import WARM_UP_STEPS, rate_factor
from lab.training.plan import edge_plan, server_plan
from vit.plain_vit import build


def parameters(plan) -> int:
    return sum(parameter.numel() for parameter in build(plan.architecture).parameters())


def test_the_server_has_at_least_four_times_the_edges_parameters() -> None:
    edge, server = parameters(edge_plan(17)), parameters(server_plan(17))
    assert server >= 4 * edge
    assert 2 * (edge + server) < 16_000_000  # bytes of the pair's files in float16


def test_only_the_servers_last_stage_learns_on_subsets() -> None:
    assert not any(stage.subsets for stage in edge_plan(17).stages)
    *early, last = server_plan(17).stages
    assert last.subsets
    assert not any(stage.subsets for stage in early)


def test_every_step_belongs_to_the_stage_that_covers_it() -> None:
    plan = edge_plan(17)
    first, second = plan.stages[:2]
    assert plan.stage_at(0) is first
    assert plan.stage_at(first.steps - 1) is first
    assert plan.stage_at(first.steps) is second
    with pytest.raises(ValueError, match="past the plan"):
        plan.stage_at(plan.steps)


def test_the_edge_has_about_a_million_parameters_and_ends_at_a_constant_rate() -> None:
    plan = edge_plan(17)
    assert 0.9e6 < parameters(plan) < 1.1e6
    assert plan.decay_share == 0
    assert plan.stage_at(plan.steps - 1).rate == max(stage.rate for stage in plan.stages)


def test_scale_multiplies_the_length() -> None:
    assert server_plan(17, scale=2.0).steps == 2 * server_plan(17).steps
    assert edge_plan(17, scale=1e-9).steps == len(edge_plan(17).stages)


def test_the_rate_warms_up_stays_and_falls() -> None:
    assert rate_factor(0, 10_000, 0.2) == pytest.approx(1 / WARM_UP_STEPS)
    assert rate_factor(WARM_UP_STEPS, 10_000, 0.2) == rate_factor(7_999, 10_000, 0.2) == 1.0
    assert rate_factor(9_000, 10_000, 0.2) == pytest.approx(0.5)
    assert rate_factor(9_999, 10_000, 0.2) == pytest.approx(0.02)


def test_a_short_run_warms_up_for_a_tenth_of_it() -> None:
    assert rate_factor(0, 300, 0.5) == pytest.approx(1 / 30)
    assert rate_factor(29, 300, 0.5) == 1.0
