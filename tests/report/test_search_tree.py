"""The page of a search: the tree's shape, the heat-map, and hostile programs as text."""

import re

from coderl.records import Outcome, Problem, Program, Verdict
from coderl.report.search_tree import tree_page

PROBLEM = Problem("p<1>", "say <b>it</b>", "stdin")


def test_a_program_stands_below_its_parent_and_its_seed_is_coloured():
    seen = {"seed_tokens": 2, "passed": [0.5, 1.0, 0.0], "token_texts": ["a", " =", " 1"]}
    programs = [
        Program("p<1>", "a = 2", 2, origin="refine", parent=0, extra={"given": 2, "round": 1}),
        Program("p<1>", "a = 1", 0, extra=seen),
        Program("p<1>", "<script>alert(1)</script>", 1),
        Program("another", "no", 0),
    ]
    examples = [Verdict("p<1>", 0, Outcome.PASSED_TEST), Verdict("p<1>", 1, Outcome.RUNTIME_ERROR, "NameError")]
    page = tree_page(PROBLEM, programs, examples)
    assert page.index("#0 sample") < page.index("#2 refine, round 1, 2 tokens given") < page.index("#1 sample")
    assert page.count("<ul>") == 2 and "another" not in page
    assert re.findall(r'class="t( cut)?" style="background:hsl\((\d+)', page) == [("", "60"), (" cut", "120"), ("", "0")]
    assert "<script" not in page and "&lt;script&gt;" in page and "(NameError)" in page and "say &lt;b&gt;" in page
    assert "3 programs, 1 pass" in page
