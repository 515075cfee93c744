"""What `fuseki compare` is asked for, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl.compare.plan import Wrong, make_plan
from rl.config import ConfigError, GymConfig
from tests.rl.runtime.runs import write_config


@pytest.fixture
def toe(tmp_path: Path) -> str:
    return str(write_config(tmp_path / "toe.yaml", minutes=1, snapshots=0))


@pytest.fixture
def pole(tmp_path: Path) -> str:
    return str(write_config(tmp_path / "pole.yaml", "ppo", minutes=1))


def test_all_get_the_budget_and_their_own_settings(toe: str) -> None:
    plan = make_plan([toe, f"{toe} learner.learning_rate=0.1 label=fast"], 2, "evaluations=5e3", snapshots=4)
    assert [c.label for c in plan.contenders] == ["toe", "fast"] and plan.seeds == (0, 1)
    configs = [plan.config(c, 1) for c in plan.contenders]
    for config in configs:
        assert config.seed == 1 and config.run.evaluations == 5000 and config.run.minutes is None
        assert config.run.snapshots == 4
    assert [c.learner.learning_rate for c in configs] == [0.002, 0.1]
    folders = {c.folder(Path(), seed) for c in plan.contenders for seed in plan.seeds}
    assert len(folders) == 4


def test_vary_makes_every_combination(toe: str) -> None:
    plan = make_plan(
        [toe],
        1,
        "minutes=0.5",
        vary=["net.encoder={kind: mlp, width: 8},{kind: mlp, width: 16}", "env=tic_tac_toe,hex3"],
    )
    assert plan.environments == ["tic_tac_toe", "hex3"]
    labels = [c.label for c in plan.contenders if c.environment == "hex3"]
    assert len(plan.contenders) == 4 and len(set(labels)) == 2
    widths = {c.config.model_dump()["net"]["encoder"]["width"] for c in plan.contenders if c.environment == "hex3"}
    assert widths == {8, 16}


def test_what_self_play_mixes_in_is_compared_with_what_it_does_not() -> None:
    mixed = "configs/go9.yaml 'env_options.variants=[{share: 1}, {board: 7}]' label=mixed"
    alone = "configs/go9.yaml 'env_options={komi: 7}' label=alone"
    assert make_plan([mixed, alone], 1, "minutes=1").environments == ["go9 komi=7"]


def test_nothing_is_evaluated_on_the_clock(pole: str) -> None:
    plan = make_plan([pole, f"{pole} algorithm.clip=0.1 evaluation.stop_at=100"], 1, "env_steps=100")
    for contender in plan.contenders:
        config = plan.config(contender, 0)
        assert isinstance(config, GymConfig)
        assert config.evaluation.episodes == 0 and config.evaluation.stop_at is None


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("minutes", "NUMBER"),
        ("hours=3", "minutes=NUMBER"),
        ("minutes=0", "above 0"),
        ("minutes=-1", "NUMBER"),
        ("evaluations=1.5", "whole"),
        ("minutes=nan", "NUMBER"),
    ],
)
def test_a_wrong_budget_is_refused(toe: str, budget: str, said: str) -> None:
    with pytest.raises(Wrong, match=said):
        make_plan([toe, f"{toe} seed=1 label=b"], 1, budget)


@pytest.mark.parametrize(
    ("configs", "vary", "error", "said"),
    [
        ([], [], Wrong, "at least one"),
        (["{toe}"], [], Wrong, "nothing to compare with"),
        (["{toe}", "{toe}"], [], Wrong, "there twice"),
        (["{toe}", "{toe} nonsense"], [], Wrong, "no setting"),
        (["{toe}", "{toe} net.encoder={{kind: mlp, depth: 1}}"], [], Wrong, "quotes of its own"),
        (["{toe}", "{toe} 'open"], [], Wrong, "cannot be read"),
        (["{toe}", "{toe} search.nonsense=1"], [], ConfigError, "unknown key"),
        (["{toe}", "nowhere.yaml"], [], ConfigError, "nowhere.yaml"),
        (["{toe}"], ["search.simulations"], Wrong, "--vary"),
        (["{toe}", "{pole}"], [], Wrong, "between environments"),
        (["{toe}", "{toe} run.mode=sync label=b"], [], ConfigError, "wall time"),
    ],
)
def test_wrong_input_is_one_sentence(
    toe: str, pole: str, configs: list[str], vary: list[str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        make_plan([c.format(toe=toe, pole=pole) for c in configs], 1, "minutes=1", vary=vary)
    assert "\n" not in str(caught.value)
