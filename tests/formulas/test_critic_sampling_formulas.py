"""The seed cut, the turns and the top-M of critic sampling: cases by hand, invariants, and slow references."""

import itertools

import pytest

from coderl.formulas.critic_sampling import best, seed_length, surest_length, turns


@pytest.mark.parametrize(
    ("passed", "kept"),
    [
        ((0.6, 0.7, 0.9, 0.8), 3),  # best at w_3, nothing before it fails
        ((0.6, 0.4, 0.9, 0.8), 1),  # best at w_3, but w_2 fails: w_1 stays
        ((0.6, 0.9, 0.4, 0.2), 2),  # what fails behind the best does not matter
        ((0.3, 0.9), 0),  # the first token fails: plain regeneration
        ((0.1, 0.2, 0.3), 0),  # all failing
        ((0.6, 0.9, 0.9, 0.7), 2),  # a tie: the earlier
        ((0.6, 0.7, 0.8), 3),  # best at the end of the text: the whole program
        ((0.5, 0.5), 1),  # p(failed) = p(passed) is not more: no cut, and a tie
        ((), 0),
    ],
)
def test_seed_length_by_hand(passed, kept):
    assert seed_length(passed) == kept


def test_the_options_of_the_cut():
    scores = (0.6, 0.4, 0.9)
    assert seed_length(scores, keep_cut=True) == 2  # w_2 stays
    assert seed_length(scores, threshold=0.0) == 3  # never cut
    assert seed_length(scores, threshold=0.65) == 0
    assert seed_length((0.9, 0.8), threshold=1.0, keep_cut=True) == 1


def test_seed_length_is_the_two_steps_of_the_paper():
    """Every row of four scores out of five values, against the definition written out."""
    for row in itertools.product((0.1, 0.4, 0.5, 0.6, 0.9), repeat=4):
        top = max(row)
        t_max = next(t for t in range(1, 5) if row[t - 1] == top)
        failing = [t for t in range(1, t_max + 1) if 1 - row[t - 1] > row[t - 1]]
        assert seed_length(row) == (min(failing) - 1 if failing else t_max)


def test_every_token_of_a_seed_passes_and_the_best_is_last_or_cut():
    for row in itertools.product((0.2, 0.5, 0.7, 0.8), repeat=5):
        length = seed_length(row)
        assert all(p >= 0.5 for p in row[:length])
        assert length == 0 or row[length - 1] == max(row) or row[length] < 0.5


def test_surest_length_by_hand():
    assert surest_length((-0.1, -2.0, -0.5)) == 1  # w_2 is the least sure: w_1 stays
    assert surest_length((-3.0, -0.1)) == 0
    assert surest_length((-1.0, -1.0)) == 0  # a tie: the earlier
    assert surest_length(()) == 0


def test_turns_by_hand():
    assert turns(6, 3) == (0, 1, 2, 0, 1, 2)  # 6 / 3 = 2 each
    assert turns(7, 3) == (0, 1, 2, 0, 1, 2, 0)  # one is over: the first has three
    assert turns(2, 3) == (0, 1)  # more parents than programs
    assert turns(0, 3) == ()


def test_no_parent_is_ever_more_than_one_ahead():
    for programs, parents in itertools.product(range(1, 25), range(1, 9)):
        for stop in range(parents, programs + 1):  # also where a budget ends the round early
            counts = [turns(programs, parents)[:stop].count(p) for p in range(parents)]
            assert max(counts) - min(counts) <= 1 and counts == sorted(counts, reverse=True)


def test_best_by_hand():
    assert best((0.2, 0.9, 0.5), 2) == (1, 2)
    assert best((0.5, 0.5, 0.1), 1) == (0,)  # a tie: the earlier
    assert best((0.2, 0.9), 4) == (1, 0)  # M larger than the failures
    assert best((), 2) == ()
