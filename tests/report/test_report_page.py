"""The page as a whole: it needs no network, runs no script but its own, and shows hostile programs as text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from coderl.errors import CoderlError, DataError, UsageError
from coderl.evaluation import evaluate
from coderl.recipes.report import Config, main
from coderl.records import Outcome, Problem, Program, Test, TokenScores, Verdict
from coderl.report.browser import BrowserData
from coderl.report.curves import RunCurves
from coderl.report.page import embed, write_report
from coderl.store import write_records

HOSTILE = 'print("</script><script>alert(1)</script><img src=x onerror=alert(2)> <!-- & \u2028 \ud800 {{scripts}}")'
PROBLEMS = [
    Problem(id=id_, statement="Say <b>hi</b>", kind="stdin", tests=(Test(input="", output=""),), difficulty="interview") for id_ in ("p<1>", "p2")
]
VERDICTS = [
    Verdict("p<1>", 0, Outcome.RUNTIME_ERROR, "IndexError", "<i>list index</i>", 1, passed=1, total=4),
    Verdict("p2", 0, Outcome.PASSED_TEST, passed=4, total=4),
]
PROGRAMS = [Program("p<1>", HOSTILE, 0), Program("p2", "print('hi')\n", 0)]
SCORES = [TokenScores("p<1>", 0, ("print", "(</script>)"), (0.25, 0.75), (0.5, 0.125), Outcome.FAILED_TEST, Outcome.RUNTIME_ERROR)]
CURVES = RunCurves("warm-start", ({"stage": "warm-start", "step": 1, "cpu_seconds": 2.0, "loss": 3.0, "outcome/passed_test": 1.0},))


class _Page(HTMLParser):
    """All elements with their attributes, and the text of scripts and of the rest apart."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif not (self._open and self._open[-1] == "style"):
            self.text += data


def _results(name: str = "actor", ks: tuple[int, ...] = (1,)) -> dict[str, Any]:
    return evaluate(PROBLEMS, VERDICTS, ks, name=name)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    browser = BrowserData(PROBLEMS, PROGRAMS, VERDICTS, SCORES)
    write_report(out, title="A <title>", results=[_results("<run>"), _results("<run>")], runs=[CURVES], browser=browser)
    return out.read_text(encoding="utf-8")


def test_nothing_on_the_page_points_to_the_network(page: str) -> None:
    for tag, attributes in _Page(page).elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img"), tag
        for name in ("src", "srcset", "href", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert style is not None and "url(" not in style[1] and "@import" not in style[1]


def test_plotly_is_inlined_exactly_once(page: str) -> None:
    assert page.count("* plotly.js v") == 1


def test_the_policy_allows_exactly_the_scripts_that_are_there_and_no_request(page: str) -> None:
    found = _Page(page)
    policy = next(a["content"] or "" for t, a in found.elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    kinds = [a.get("type") for t, a in found.elements if t == "script"]
    run = [script for script, kind in zip(found.scripts, kinds, strict=True) if kind is None]
    assert policy.startswith("default-src 'none';") and "http" not in policy and "unsafe-eval" not in policy
    allowed = set(re.findall(r"sha256-([A-Za-z0-9+/=]+)", policy))
    assert len(run) == 3 and allowed == {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in run}


def test_hostile_programs_stay_data(page: str) -> None:
    found = _Page(page)
    assert sum(tag == "script" for tag, _ in found.elements) == 5  # two blocks of data, plotly, charts, browser
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert "alert(" not in found.text and "{{" not in found.text
    data = json.loads(next(script for script in found.scripts if '"programs"' in script[:9000] and script.startswith("{")))
    assert data["programs"][0]["code"] == HOSTILE and data["programs"][0]["message"] == "<i>list index</i>"
    assert data["programs"][0]["values"] == [250, 750] and data["programs"][0]["tokens"] == ["print", "(</script>)"]


def test_names_are_escaped_and_told_apart(page: str) -> None:
    assert "<run>" not in page and "&lt;run&gt; (2)" in page
    assert "<title>A &lt;title&gt;</title>" in page


def test_embedded_json_has_no_character_that_html_reads() -> None:
    data = {"a": "</script><!--&\u2028\ud800"}
    assert not set("<>&\u2028") & set(embed(data)) and json.loads(embed(data)) == data


def test_each_part_is_optional(tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"results": [_results()]}, {"results"}),
        ({"runs": [CURVES]}, {"curves"}),
        ({"browser": BrowserData(PROBLEMS, PROGRAMS)}, {"programs"}),
    ]
    for given, wanted in cases:
        write_report(out, title="t", **given)
        source = out.read_text()
        assert {a["id"] for t, a in _Page(source).elements if t == "section"} == wanted
        assert ("* plotly.js v" in source) == ("browser" not in given)


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to report"):
        write_report(tmp_path / "r.html", title="t")
    assert not (tmp_path / "r.html").exists()


def test_a_page_without_programs_says_so_and_still_opens(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="t", browser=BrowserData(PROBLEMS, []))
    assert "All 0 programs are here." in (tmp_path / "r.html").read_text()


def test_the_page_says_how_many_programs_were_left_out(tmp_path: Path) -> None:
    programs = [Program("p2", f"print({i})", i) for i in range(50)]
    write_report(tmp_path / "r.html", title="t", browser=BrowserData(PROBLEMS, programs, limit=20))
    assert "20 of 50 programs are here; 30 were left out" in (tmp_path / "r.html").read_text()


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CoderlError, match="cannot be written"):
        write_report(tmp_path / "file" / "r.html", title="t", runs=[CURVES])


def _files(folder: Path) -> dict[str, Any]:
    write_records(folder / "problems.jsonl", PROBLEMS)
    write_records(folder / "programs.jsonl", PROGRAMS)
    write_records(folder / "verdicts.jsonl", VERDICTS)
    write_records(folder / "scores.jsonl", SCORES)
    (folder / "results.json").write_text(json.dumps(_results()))
    (folder / "run").mkdir()
    (folder / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": NaN}\n{"step": 3, "lo')
    return {name: folder / f"{name}.jsonl" for name in ("problems", "programs", "verdicts", "scores")}


def test_recipe_reads_files_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = _files(tmp_path)
    main(Config(out=tmp_path / "r.html", results=(tmp_path / "results.json",), runs=(tmp_path / "run",), title="mine", **files))
    source = (tmp_path / "r.html").read_text()
    assert {a["id"] for t, a in _Page(source).elements if t == "section"} == {"results", "curves", "programs"}
    assert "<h1>mine</h1>" in source and "r.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"results": "nothing.json"}, DataError, r"nothing\.json: no such file; write it with `coderl evaluate"),
        ({"results": "problems.jsonl"}, DataError, "not a results.json"),
        ({"runs": "nowhere"}, DataError, "no such run folder"),
        ({"runs": "."}, None, ""),
        ({"programs": None}, UsageError, "--verdicts is given without --programs"),
        ({"problems": None}, UsageError, "--programs is given without --problems"),
        ({"programs": "nothing.jsonl"}, DataError, r"nothing\.jsonl: no such file"),
        ({"limit": 0}, UsageError, "the limit of programs is 0"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, change: dict[str, Any], kind: type[CoderlError] | None, words: str) -> None:
    values: dict[str, Any] = {**_files(tmp_path), "out": tmp_path / "r.html"}
    for name, value in change.items():
        path = tmp_path / value if isinstance(value, str) else value
        values[name] = (path,) if name in ("results", "runs") else path
    if kind is None:
        return main(Config(**values))
    with pytest.raises(kind, match=words):
        main(Config(**values))
    assert not (tmp_path / "r.html").exists()


def test_programs_of_unknown_problems_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a program is for 'zz', which is not among the 2 problems"):
        write_report(tmp_path / "r.html", title="t", browser=BrowserData(PROBLEMS, [Program("zz", "", 0)]))
