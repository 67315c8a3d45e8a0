"""What the repair model reads, and which pairs it learns from."""

import pytest

from coderl.errors import DataError
from coderl.examples import Judged
from coderl.records import Outcome, Problem, Program, Verdict
from coderl.repair import Shares, closest, error_text, repair_examples, repair_pairs, repair_source, share_source
from coderl.tokens import decode, train_tokenizer

STATEMENT = "Read numbers and print their sum. " * 10 + "Print one number."
PROBLEM = Problem("p", STATEMENT, "stdin", solutions=("print(sum(map(int, input().split())))",))
TOKENIZER = train_tokenizer(
    [STATEMENT, PROBLEM.solutions[0], "\nFAILED PROGRAM:\n\nERROR:\nruntime error: NameError: x\nREPAIRED PROGRAM:\n"] * 3, 400
)
FAILED = Program("p", "for i in range(3):\n    print(nums[i])\n", 0)
VERDICT = Verdict("p", 0, Outcome.RUNTIME_ERROR, "NameError", "name 'nums' is not defined", 2)


def verdict(index, outcome):
    return Verdict("p", index, outcome)


def test_the_error_in_one_line():
    assert error_text(VERDICT) == "runtime error: NameError: name 'nums' is not defined (line 2)"
    assert error_text(Verdict("p", 0, Outcome.FAILED_TEST, error_message="test 1: expected 3,\n got 4")) == "failed test: test 1: expected 3, got 4"
    assert error_text(Verdict("p", 0, Outcome.COMPILE_ERROR, "SyntaxError", "m" * 500)) == "compile error: SyntaxError: " + "m" * 200


@pytest.mark.parametrize(
    ("statement", "program", "room", "kept"),
    [
        (10, 10, 40, (10, 10)),  # all fits
        (30, 20, 40, (20, 20)),  # the statement is cut first
        (30, 50, 40, (10, 30)),  # down to a quarter, then the program
        (4, 50, 40, (4, 36)),  # a short statement leaves the rest to the program
    ],
)
def test_sharing_by_hand(statement, program, room, kept):
    assert share_source(statement, program, room) == Shares(*kept)


def test_a_source_that_fits_holds_everything():
    ids, cut = repair_source(TOKENIZER, PROBLEM, FAILED, VERDICT, 2000)
    text = decode(TOKENIZER, ids)
    assert not cut
    assert f"{STATEMENT}\nUse Standard Input format\nANSWER:\n\nFAILED PROGRAM:\n{FAILED.code}\nERROR:\n{error_text(VERDICT)}\n" in text


@pytest.mark.parametrize("limit", [100, 120, 160])
def test_the_statement_loses_its_middle_and_the_error_nothing(limit):
    ids, cut = repair_source(TOKENIZER, PROBLEM, FAILED, VERDICT, limit)
    text = decode(TOKENIZER, ids)
    assert cut and len(ids) == limit
    assert text.startswith("\nQUESTION:") and text.endswith(f"\nERROR:\n{error_text(VERDICT)}\nREPAIRED PROGRAM:\n")
    if limit == 160:
        assert "ANSWER:" in text and FAILED.code in text


def test_a_limit_without_room_is_refused():
    with pytest.raises(DataError, match="no room beside the error"):
        repair_source(TOKENIZER, PROBLEM, FAILED, VERDICT, 30)


def judged():
    codes = [("a = 1\nprint(a)", False), ("a = 1\nprint(a)", False), ("b = 2\nprint(b)", False), ("a = 2\nprint(a)", True), ("print(7)", True)]
    for index, (code, passed) in enumerate(codes):
        yield Judged(Program("p", code, index), verdict(index, Outcome.PASSED_TEST if passed else Outcome.FAILED_TEST))


def test_failures_are_paired_once_each_with_references_or_samples():
    problems = {"p": PROBLEM}
    pairs = list(repair_pairs(problems, list(judged())))
    assert [(p.failed.index, p.target) for p in pairs] == [(0, PROBLEM.solutions[0]), (2, PROBLEM.solutions[0])]
    pairs = list(repair_pairs(problems, list(judged()), references=False, samples=True))
    assert [(p.failed.index, p.target) for p in pairs] == [(0, "a = 2\nprint(a)"), (2, "a = 2\nprint(a)")]
    assert list(repair_pairs({"p": Problem("p", "", "stdin")}, list(judged()))) == []


def test_the_closest_right_program_is_taken():
    assert closest("x = 1\nprint(x)", ["print(1)", "x = 2\nprint(x)", "y"]) == "x = 2\nprint(x)"


def test_a_program_of_another_file_is_refused():
    with pytest.raises(DataError, match="lacks"):
        list(repair_pairs({}, list(judged())))


def test_examples_end_with_the_end_token_and_long_targets_are_left_out():
    pairs = list(repair_pairs({"p": PROBLEM}, list(judged())))
    found = repair_examples(TOKENIZER, pairs, 300, 100)
    assert len(found.examples) == found.pairs == 2 and found.long == 0
    assert all(decode(TOKENIZER, e.program) == PROBLEM.solutions[0] and e.program[-1] == TOKENIZER.eos_token_id for e in found.examples)
    assert len({e.key for e in found.examples}) == 2  # each pair has a source of its own
    assert repair_examples(TOKENIZER, pairs, 300, 5).long == 2
