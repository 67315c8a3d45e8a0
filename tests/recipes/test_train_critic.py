"""The critic's two losses: what each is a part of, and what each teaches."""

from pathlib import Path

import pytest

from coderl.critic_quality import quality
from coderl.machine import this_machine
from coderl.models.actor import small_t5
from coderl.models.critic import PaperHead, ReleasedHead, critic_from_actor
from coderl.recipes.train_critic import Config, train_critic
from coderl.run_directory import RunDirectory
from coderl.scoring import read_programs
from coderl.tokens import Example


def programs() -> list[Example]:
    """Programs of one problem whose first token decides: 8 passes, 9 does not; the rest says nothing."""
    return [Example("a", (5, 6), (first, 10 + n, 20, 2), label=int(first == 8)) for n in range(6) for first in (8, 9)]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_every_prefix_teaches_only_with_a_weight_of_its_own(weight: float, tmp_path: Path) -> None:
    nowhere = Path("nowhere")
    config = Config(nowhere, nowhere, nowhere, nowhere, nowhere, outcomes=2, prefix_weight=weight, updates=50, learning_rate=1e-2, shared=12)
    critic = critic_from_actor(small_t5(40, 0, width=16, heads=2, feed_forward=32), PaperHead, 2, 0)
    run = RunDirectory(tmp_path)
    train_critic(config, critic, programs(), run, this_machine("float32", 1), lambda folder: None)
    logged = run.metrics()[-1]
    assert logged["loss"] == pytest.approx(logged["loss_whole"] + weight * logged["loss_prefix"], abs=1e-5)
    found = quality(read_programs(critic, programs()), programs())
    assert found.accuracy == 1 and found.auc_within == 1
    if weight:  # what the first token gives away is known from there on
        assert found.auc_within_at == (1, 1, 1, 1)
        assert all(abs(p - e.label) < 0.2 for e, r in zip(programs(), read_programs(critic, programs())) for p in r.passed)


def test_a_released_head_learns_too_and_says_the_same_in_every_batch(tmp_path: Path) -> None:
    nowhere = Path("nowhere")
    config = Config(nowhere, nowhere, nowhere, nowhere, nowhere, outcomes=2, head="released", updates=50, learning_rate=1e-2, shared=12)
    critic = critic_from_actor(small_t5(40, 0, width=16, heads=2, feed_forward=32), ReleasedHead, 2, 0)
    critic.width = 8
    train_critic(config, critic, programs(), RunDirectory(tmp_path), this_machine("float32", 1), lambda folder: None)
    together = read_programs(critic, programs())
    assert quality(together, programs()).accuracy == 1
    alone = [read_programs(critic, [example])[0] for example in programs()]
    assert [p for r in alone for p in r.probabilities] == pytest.approx([p for r in together for p in r.probabilities], abs=1e-5)
