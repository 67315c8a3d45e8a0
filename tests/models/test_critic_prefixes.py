"""A critic that reads prefixes as whole programs: each token's value is the verdict on the program cut behind it."""

import pytest
import torch

from coderl.errors import ModelError
from coderl.models.actor import small_t5
from coderl.models.critic import PaperHead, ReleasedHead, critic_from_actor, reading_prefixes


def inputs():
    generator = torch.Generator().manual_seed(0)
    prompt, program = torch.randint(3, 40, (3, 6), generator=generator), torch.randint(3, 40, (3, 5), generator=generator)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    return prompt, torch.ones_like(prompt, dtype=torch.bool), program, mask


@pytest.mark.parametrize("outcomes", [2, 4])
def test_every_prefix_is_read_as_the_critic_reads_a_program_that_ends_there(outcomes):
    critic = critic_from_actor(small_t5(40, seed=1, width=16, layers=1, heads=2, feed_forward=32), PaperHead, outcomes, seed=2).eval()
    prompt, prompt_mask, program, mask = inputs()
    with torch.inference_mode():
        found = reading_prefixes(critic)(prompt, prompt_mask, program, mask)
        whole = critic(prompt, prompt_mask, program, mask)
        torch.testing.assert_close(found.logits, whole.logits)
        for row in range(3):
            for t in range(int(mask[row].sum())):
                cut = slice(row, row + 1), slice(0, t + 1)
                alone = critic(prompt[row : row + 1], prompt_mask[row : row + 1], program[cut], mask[cut])
                torch.testing.assert_close(found.token_logits[row, t], alone.logits[0])
    assert not torch.allclose(found.token_logits[0, 1:], whole.token_logits[0, 1:])  # single states say something else


def test_a_released_head_has_no_such_reading():
    critic = critic_from_actor(small_t5(40, seed=1, width=16, layers=1, heads=2, feed_forward=32), ReleasedHead, 4, seed=2)
    with pytest.raises(ModelError, match="paper head only"):
        reading_prefixes(critic)
