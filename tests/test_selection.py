"""Which program is handed in: filter, score, log-probability, majority; inputs in the manner of the examples."""

import pytest

from coderl.critic_sampling import Candidate
from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.selection import by_majority, by_mean_log_probability, by_score, made_inputs, ranked


def candidate(index, code, score, passes=True, mean=-1.0):
    verdict = Verdict("p", index, Outcome.PASSED_TEST if passes else Outcome.FAILED_TEST)
    return Candidate(Program("p", code, index, extra={"mean_logprob": mean}), (), (), verdict, (), score)


FIVE = [
    candidate(0, "a", 0.2, mean=-0.1),
    candidate(1, "b", 0.9, passes=False),
    candidate(2, "c", 0.5, mean=-0.3),
    candidate(3, "a", 0.2, mean=-0.2),
    candidate(4, "d", 0.4, mean=-0.2),
]


def indices(candidates):
    return [c.program.index for c in candidates]


def test_what_passes_the_examples_comes_first_and_a_text_once():
    assert indices(ranked(FIVE, by_score)) == [2, 4, 0, 1]
    assert indices(ranked(FIVE, by_mean_log_probability)) == [0, 4, 2, 1]


def test_the_largest_cluster_hands_in_first_and_copies_count():
    # "a" and "d" do the same (three programs), "c" another thing
    rule = by_majority({"a": "same", "d": "same", "c": "other"})
    assert indices(ranked(FIVE, rule)) == [4, 2, 0, 1]  # best of the cluster of three, then the other cluster, then the second of the first
    assert indices(ranked(FIVE, by_majority({}))) == [0, 2, 4, 1]  # unknown behaviours: clusters of equal texts


def test_nothing_to_rank():
    assert ranked([], by_majority({})) == []


@pytest.mark.parametrize(
    ("kind", "given"),
    [("stdin", ["3 1 4\n", "10 20 30\n"]), ("call", [[[3, 1, 4]], [[5, 6, 7, 8]]]), ("call", [["tree", 5]]), ("stdin", ["oat tree as\n"])],
)
def test_made_inputs_are_new_of_the_same_form_and_repeatable(kind, given):
    problem = Problem("p", "", kind, examples=tuple(Test(value, 0) for value in given))
    made = made_inputs(problem, 6, seed=0)
    assert 1 <= len(made) <= 6 and all(value not in given for value in made) and len({repr(value) for value in made}) == len(made)
    assert all(type(value) is type(given[0]) for value in made) and made == made_inputs(problem, 6, seed=0)
    if kind == "call":
        assert all([type(part) for part in value] == [type(part) for part in given[0]] for value in made)
    else:
        assert all(value.count("\n") == 1 and value.endswith("\n") for value in made)


def test_there_is_nothing_to_make_inputs_from():
    assert made_inputs(Problem("p", "", "stdin"), 5, seed=0) == []
    assert made_inputs(Problem("p", "", "assert", examples=(Test(code="assert f(1) == 2"),)), 5, seed=0) == []
