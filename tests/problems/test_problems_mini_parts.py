"""Mini's parts: answers worked out by hand, programs of every style, mistakes that tests must catch."""

from random import Random

import pytest

from coderl.problems.mini_compose import ENDS, PARTS, Spec, Step, outcome, run, skeletons, wrong_variants
from coderl.problems.mini_inputs import Case, Cases, choose_tests
from coderl.problems.mini_mistakes import draw_samples, find_mistakes
from coderl.problems.mini_parts import Filter, Undefined
from coderl.problems.mini_programs import STYLES, Names, accumulate, draw_names, functional, loop, named_steps, one_expression, write
from coderl.problems.mini_sources import SOURCES
from coderl.problems.mini_steps import FILTERS, MAPS
from coderl.problems.mini_terminals import TERMINALS
from coderl.problems.mini_text import statement
from coderl.records import DIFFICULTIES, Outcome, Problem, Program, Test
from coderl.sandbox import Judge

BY_NAME = {source.name: source for source in SOURCES}
NAMES = Names(("nums",), "x", "res", "total", ("b", "c"))


def spec(source: str, steps: list[tuple[str, object]], terminal: str, k: object = None, stdin: bool = True) -> Spec:
    return Spec(BY_NAME[source], tuple(Step(PARTS[name], constant) for name, constant in steps), ENDS[terminal], k, stdin)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "arguments", "answer"),
    [
        (spec("list", [("even", None), ("square", None)], "sum"), ([1, 2, 3, 4],), 4 + 16),
        (spec("range", [("plus", 3), ("above", 5)], "count"), (6,), 4),  # 4 5 6 7 8 9 -> 6 7 8 9
        (spec("between", [("multiple", 3)], "list"), (4, 12), [6, 9, 12]),
        (spec("digits", [("times", 2)], "descending"), (5071,), [14, 10, 2, 0]),
        (spec("words", [("long", 3), ("size", None)], "max"), (["tree", "sea", "apple"],), 5),
        (spec("letters", [("vowel", None), ("place", None)], "summod", 7), ("radio",), (1 + 9 + 15) % 7),
        (spec("list", [], "mean"), ([3, 4, 4],), 3),
    ],
)
def test_answer_by_hand(what: Spec, arguments: tuple[object, ...], answer: object) -> None:
    assert run(what, arguments).answer == answer


def test_lively_means_that_every_step_changed_something() -> None:
    what = spec("list", [("even", None), ("cap", 9)], "sum")
    assert run(what, ([1, 2, 12],)).lively
    assert not run(what, ([2, 12],)).lively  # nothing filtered out
    assert not run(what, ([1, 2],)).lively  # nothing capped


def test_digits_of_negative_numbers_are_undefined() -> None:
    with pytest.raises(Undefined):
        run(spec("list", [("digitsum", None)], "sum"), ([-12, 3],))


def test_failing_variant_has_no_outcome() -> None:
    assert outcome(spec("list", [("above", 9)], "max"), ([1, 2],)) is None


def test_wrong_variants_of_a_simple_spec() -> None:
    what = spec("range", [("above", 4), ("times", 3)], "sum")
    found = {variant.name for variant in wrong_variants(what)}
    assert {"no above", "no times", "from for above", "below for above", "above 3 for 4", "above 5 for 4", "times 2 for 3"} <= found
    assert {"plus for times", "count for sum", "swapped steps", "short range"} <= found


def test_wrong_variants_fit_the_kind_of_element() -> None:
    found = {variant.name for variant in wrong_variants(spec("words", [("size", None)], "sum"))}
    assert "no size" not in found  # words cannot be summed


def test_one_expression_by_hand() -> None:
    what = spec("list", [("even", None), ("square", None)], "sum")
    assert write(what, one_expression, NAMES, "") == "print(sum(x ** 2 for x in map(int, input().split()) if x % 2 == 0))\n"


def test_call_form_by_hand() -> None:
    what = spec("list", [("plus", 3), ("times", 2)], "list", stdin=False)
    assert write(what, one_expression, NAMES, "f") == "def f(nums):\n    return [(x + 3) * 2 for x in nums]\n"
    assert write(what, functional, NAMES, "f") == "def f(nums):\n    return list(map(lambda x: x * 2, map(lambda x: x + 3, nums)))\n"


def test_loop_styles_by_hand() -> None:
    what = spec("list", [("square", None), ("above", 5)], "sum")
    read = "nums = list(map(int, input().split()))\n"
    body = "for x in nums:\n    x = x ** 2\n    if x > 5:\n        "
    assert write(what, loop, NAMES, "") == f"{read}res = []\n{body}res.append(x)\nprint(sum(res))\n"
    assert write(what, accumulate, NAMES, "") == f"{read}total = 0\n{body}total += x\nprint(total)\n"
    assert write(what, named_steps, NAMES, "") == f"{read}b = [x ** 2 for x in nums]\nc = [x for x in b if x > 5]\nprint(sum(c))\n"


def hidden(what: Spec, cases: Cases) -> tuple[Test, ...]:
    return tuple(Test(input=list(case.arguments), output=case.answer) for case in cases.hidden)


def test_every_style_is_right_for_every_part() -> None:
    """Call form: one random composition of each difficulty for every part, written in every style that suits, judged."""
    random = Random(11)
    pairs = []
    missing = {part.name for part in (*FILTERS, *MAPS, *TERMINALS)}
    for difficulty in DIFFICULTIES * 2:
        for what, cases in draw_samples(difficulty, 90, random):
            new = missing & {*(step.part.name for step in what.steps), what.terminal.name}
            if cases is None or not new:
                continue
            missing -= new
            what = what._replace(stdin=False)
            problem = Problem(f"p{len(pairs)}", "", "call", hidden(what, cases), entry_point="f")
            variables = what.source.call.names[0]
            for style, suits in STYLES:
                if suits(what):
                    pairs.append((problem, Program(problem.id, write(what, style, draw_names(what, variables, random), "f"), len(pairs))))
    assert len(missing) <= 2, missing
    with Judge(workers=2) as judge:
        for (_, program), verdict in zip(pairs, judge.grade_many(pairs), strict=True):
            assert verdict.outcome is Outcome.PASSED_TEST, (program.code, verdict)


def test_hidden_tests_catch_common_mistakes() -> None:
    random = Random(5)
    wrong = missed = 0
    for difficulty in DIFFICULTIES:
        for what, cases in draw_samples(difficulty, 100, random):
            if cases is not None:
                found = find_mistakes(what, cases, random)
                wrong, missed = wrong + len(found.wrong), missed + len(found.missed)
    assert wrong > 400
    assert missed / wrong < 0.03


def test_a_single_test_would_miss_mistakes() -> None:
    """The measure itself can fail: with one weak test many mistakes go through."""
    what = spec("list", [("above", 4)], "count")
    weak = Cases([], [Case(([9, 9, 1],), 2)])
    assert {"from for above", "above 3 for 4"} <= {variant.name for variant in find_mistakes(what, weak, Random(0)).missed}


def test_judge_rejects_programs_with_common_mistakes() -> None:
    random = Random(2)
    pairs = []
    for what, cases in draw_samples("interview", 60, random):
        if cases is None:
            continue
        what = what._replace(stdin=False)
        problem = Problem(f"p{len(pairs)}", "", "call", hidden(what, cases), entry_point="f")
        for variant in find_mistakes(what, cases, random).wrong:
            if not variant.spec.shortened:
                code = write(variant.spec, one_expression, draw_names(variant.spec, what.source.call.names[0], random), "f")
                pairs.append((problem, Program(problem.id, code, len(pairs))))
    with Judge(workers=2) as judge:
        passed = [program.code for (_, program), verdict in zip(pairs, judge.grade_many(pairs), strict=True) if verdict.is_pass]
    assert len(pairs) > 100
    assert len(passed) / len(pairs) < 0.03, passed


def test_a_part_that_no_input_needs_is_turned_down() -> None:
    assert choose_tests(spec("range", [("from", 1)], "sum"), Random(0)) is None  # 1..n is at least 1 already
    assert choose_tests(spec("range", [], "sorted"), Random(0)) is None  # sorted as it is


def test_constants_and_predicates_are_in_the_statement() -> None:
    random = Random(4)
    for what, cases in draw_samples("competition", 150, random):
        if cases is None:
            continue
        text = statement(what, what.source.call.names[0], cases.examples, random).split("\n")[0]
        assert "{" not in text
        for part, k in what.steps:
            assert k is None or str(k) in text
            if isinstance(part, Filter):
                assert any(predicate.format(k=k) in text for predicate in part.text)
        assert what.k is None or str(what.k) in text


def test_every_source_and_shape_has_skeletons() -> None:
    assert all(skeletons(source, shape) for source in SOURCES for shape in ("T", "F", "M", "FT", "MT", "FM", "FMT", "MFT", "FFT", "MMT"))
