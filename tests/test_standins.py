"""What stands in for a critic knows exactly what it is said to know."""

import pytest
import torch

from coderl.critic_quality import quality
from coderl.errors import DataError
from coderl.examples import labelled_for
from coderl.formulas.coderl import constant_weights, critic_weights
from coderl.scoring import Reading
from coderl.standins import constant, fitted, oracle, others
from coderl.tokens import Example


def example(key: str, size: int, label: int = 3) -> Example:
    return Example(key, (5,), tuple(range(6, 6 + size)), label=label)


def test_the_constant_is_the_mean_over_tokens_by_hand():
    # q̂: (0.1 + 0.2 + 0.6) / 3 tokens = 0.3; p(passed): (0.5 + 0.5 + 0.2) / 3 = 0.4; outcomes: means over the two programs
    readings = [Reading((0.1, 0.2), (0.5, 0.5), (0.4, 0.6)), Reading((0.6,), (0.2,), (0.8, 0.2))]
    mean = constant(readings)
    assert mean.values == pytest.approx((0.3,)) and mean.passed == pytest.approx((0.4,)) and mean.probabilities == pytest.approx((0.6, 0.4))
    assert fitted(mean, 3).values == pytest.approx((0.3,) * 3)


@pytest.mark.parametrize("outcomes", [2, 4])
def test_the_oracle_knows_every_program_and_no_token(outcomes):
    examples = labelled_for([example("a", 2, 3), example("a", 3, 0), example("b", 1, 2)], outcomes)
    readings = oracle(examples, outcomes)
    assert [r.values for r in readings] == [(1.0, 1.0), (1.0, 1.0, 1.0), (1.0,)]
    assert [r.passed for r in readings] == [(1.0, 1.0), (0.0, 0.0, 0.0), (0.0,)]
    found = quality(readings, examples)
    assert found.accuracy == 1 and found.auc == 1 and found.auc_within == 1


def test_token_weights_of_an_oracle_are_the_return_itself():
    # eq. (10) with q̂ = 1 is eq. (8): a perfect critic weighs no token above another
    returns, mask = torch.tensor([1.3, -0.3]), torch.ones(2, 3, dtype=torch.bool)
    values = torch.tensor([r.values for r in oracle([example("a", 3, 3), example("a", 3, 0)], 4)])
    assert torch.equal(critic_weights(returns, values, mask), constant_weights(returns, mask))


def test_shuffled_programs_are_of_another_problem_and_of_nearly_the_same_length():
    examples = [example(f"problem {n % 40}", 10 + n % 7) for n in range(200)]
    found = others(examples, seed=3)
    assert all(examples[i].key != examples[j].key for i, j in enumerate(found))
    sizes = [(len(examples[i].program), len(examples[j].program)) for i, j in enumerate(found)]
    assert sum(a == b for a, b in sizes) > 180
    assert found == others(examples, seed=3) != others(examples, seed=4)
    assert len(set(found)) > 150  # not everybody has the same other


def test_shuffling_takes_what_there_is():
    assert others([example("a", 4), example("a", 9)], seed=0) == [1, 0]
    with pytest.raises(DataError, match="found 1 program, and 2 are needed"):
        others([example("a", 4)], seed=0)


def test_fitted_by_hand():
    # three tokens from two: floor(0), floor(2/3), floor(4/3) = 0, 0, 1; one from two: the first; two from two: itself
    reading = Reading((0.1, 0.2), (0.3, 0.4), (0.5, 0.5))
    assert fitted(reading, 3).values == (0.1, 0.1, 0.2) and fitted(reading, 3).passed == (0.3, 0.3, 0.4)
    assert fitted(reading, 1).values == (0.1,)
    assert fitted(reading, 2) == reading
