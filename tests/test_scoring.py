"""The critic's readings line up with tokens."""

import pytest

from coderl.examples import Judged
from coderl.models.actor import small_t5
from coderl.models.critic import PaperHead, critic_from_actor
from coderl.records import Outcome, Program, TokenScores, Verdict
from coderl.scoring import Reading, read_programs, token_scores
from coderl.tokens import Example, decode, encode_program, train_tokenizer

CODE = "print(sum(map(int, input().split())))"


def critic(seed=0):
    return critic_from_actor(small_t5(300, seed, width=16, heads=2, feed_forward=32), PaperHead, 4, seed)


def examples():
    return [
        Example("a", (5, 6, 7), (8, 9, 2), label=1),
        Example("b", (9,), (11, 2), label=3),
        Example("a", (5, 6, 7), (12, 13, 14, 15, 2), label=0),
    ]


def test_readings_do_not_depend_on_the_batch():
    together, apart = read_programs(critic(), examples()), read_programs(critic(), examples(), budget=1)
    for a, b in zip(together, apart, strict=True):
        assert a.values == pytest.approx(b.values, abs=1e-5) and a.probabilities == pytest.approx(b.probabilities, abs=1e-5)
    assert [len(r.values) for r in together] == [3, 2, 5]


def test_the_value_is_the_probability_of_the_true_outcome_after_reading_the_token():
    longer = read_programs(critic(), [Example("a", (5, 6, 7), (8, 9, 10, 2), label=3)])[0]
    shorter = read_programs(critic(), [Example("a", (5, 6, 7), (8, 9), label=3)])[0]
    other = read_programs(critic(), [Example("a", (5, 6, 7), (8, 12, 10, 2), label=3)])[0]
    assert longer.values[:2] == pytest.approx(shorter.values, abs=1e-5)  # causal
    assert longer.values[0] == pytest.approx(other.values[0], abs=1e-6)
    assert abs(longer.values[1] - other.values[1]) > 1e-6  # the token itself has been read
    assert longer.values == pytest.approx(longer.passed, abs=1e-6)  # the outcome is "passed"


def test_token_texts_join_to_the_program_and_the_record_round_trips():
    tokenizer = train_tokenizer([CODE] * 4, 290)
    ids, _ = encode_program(tokenizer, CODE, 100)
    judged = Judged(Program("a", CODE, 4), Verdict("a", 4, Outcome.PASSED_TEST))
    example = Example("a", (5,), ids, label=3)
    record = token_scores(tokenizer, judged, example, read_programs(critic(), [example])[0])
    assert "".join(record.tokens) == CODE == decode(tokenizer, ids)
    assert len(record.tokens) == len(record.values) == len(record.passed) == len(ids)
    assert TokenScores.from_json(record.to_json()) == record


def test_two_outcomes_are_named_failed_and_passed():
    tokenizer = train_tokenizer([CODE] * 4, 290)
    judged = Judged(Program("a", CODE, 4), Verdict("a", 4, Outcome.COMPILE_ERROR))
    example = Example("a", (5,), encode_program(tokenizer, CODE, 100)[0], label=0)
    for probabilities, predicted in (((0.8, 0.2), Outcome.FAILED_TEST), ((0.2, 0.8), Outcome.PASSED_TEST)):
        record = token_scores(tokenizer, judged, example, Reading((), (), probabilities))
        assert record.predicted == predicted and record.outcome == Outcome.COMPILE_ERROR
