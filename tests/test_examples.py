"""Records become examples with the right ids, labels and counts of what was cut."""

import pytest

from coderl.errors import DataError
from coderl.examples import Limits, join_verdicts, judged_examples, program_ids, reference_examples
from coderl.prompts import prompt
from coderl.records import Outcome, Problem, Program, Verdict
from coderl.tokens import decode, encode_prompt, train_tokenizer

PROBLEM = Problem("p", "Print the sum of the numbers.", "stdin", solutions=("print(sum(map(int, input().split())))", "x = 1\n" * 40))
TOKENIZER = train_tokenizer([prompt(PROBLEM), *PROBLEM.solutions] * 4, 300)


def test_references_pass_and_long_ones_are_left_out():
    found = reference_examples(TOKENIZER, [PROBLEM], Limits(source=200, program=60))
    assert [e.label for e in found.examples] == [3] and found.examples[0].supervised
    assert found.examples[0].prompt == encode_prompt(TOKENIZER, prompt(PROBLEM), 200)[0]
    assert found.truncation == (0, 1, 2)


def test_drawn_ids_are_kept_and_foreign_ones_are_not():
    drawn = Program("p", decode(TOKENIZER, [70, 71, 2]), 0, extra={"token_ids": [70, 71, 2]})
    assert program_ids(TOKENIZER, drawn, 50) == ((70, 71, 2), False)
    of_another_tokenizer = Program("p", "x = 1", 0, extra={"token_ids": [70, 71, 2]})
    assert program_ids(TOKENIZER, of_another_tokenizer, 50)[0] == (*TOKENIZER.encode("x = 1"), 2)
    foreign = Program("p", "x = 1", 0, extra={"token_ids": [70, 99999]})
    assert program_ids(TOKENIZER, foreign, 50)[0] == (*TOKENIZER.encode("x = 1"), 2)


def test_judged_programs_carry_their_outcome():
    programs = [Program("p", "a", i) for i in range(3)]
    verdicts = [
        Verdict("p", 2, Outcome.PASSED_TEST),
        Verdict("p", 0, Outcome.COMPILE_ERROR),
        Verdict("p", 1, None, harness_error="server gone"),
    ]
    judged = join_verdicts(programs, verdicts)
    assert [(j.program.index, j.verdict.outcome) for j in judged] == [(0, Outcome.COMPILE_ERROR), (2, Outcome.PASSED_TEST)]
    examples = judged_examples(TOKENIZER, {"p": PROBLEM}, judged, Limits(200, 60)).examples
    assert [e.label for e in examples] == [0, 3] and not any(e.supervised for e in examples)


def test_a_program_without_verdict_or_problem_is_named():
    with pytest.raises(DataError, match=r"program 4 of problem 'p'.*coderl grade"):
        join_verdicts([Program("p", "a", 4)], [])
    judged = join_verdicts([Program("q", "a", 0)], [Verdict("q", 0, Outcome.PASSED_TEST)])
    with pytest.raises(DataError, match="'q'"):
        judged_examples(TOKENIZER, {"p": PROBLEM}, judged, Limits(200, 60))
