"""The search of critic sampling, with a made-up actor and judge: rounds, parents, prefixes, budgets, and what is in play at the end."""

import hashlib

import pytest

from coderl.critic_sampling import Candidate, Rules, Team, aligned, at_random, by_critic, by_log_probability, search
from coderl.engines.requests import Decoding, Generated
from coderl.errors import UsageError
from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sampling import Author
from coderl.tokens import decode, train_tokenizer

TOKENIZER = train_tokenizer(["good bad program number 0 1 2 3 4 5 6 7 8 9 better than nothing ☃\n"] * 5, 320)
PROBLEM = Problem("p", "say it", "stdin", examples=(Test("1", "1"),), tests=(Test("2", "2"),))


class Judge:
    """Passes what says "good"; counts what it is asked."""

    def __init__(self):
        self.judged = []

    def grade_many(self, pairs, tests, stop):
        assert tests == "example"
        for problem, program in pairs:
            self.judged.append((problem.id, program.code))
            good = "good" in program.code
            yield Verdict(problem.id, program.index, Outcome.PASSED_TEST if good else Outcome.FAILED_TEST, error_message="test 1: expected 1, got 2")


def author(text_of):
    """An engine that writes `text_of(key, index, given text)` behind what is given; every token has log-probability -1/8, the second one -3."""

    def engine(requests, seed, rows):
        for r in reversed(requests):  # the order in which programs come says nothing
            for i in r.indices:
                words = TOKENIZER.encode(text_of(r.key, i, decode(TOKENIZER, r.prefix)), add_special_tokens=False)
                ids = (*r.prefix, *words, TOKENIZER.eos_token_id)[: r.decoding.max_tokens]
                own = [-0.125] * (len(ids) - len(r.prefix))
                if not r.prefix and len(own) > 1:
                    own[1] = -3.0
                yield Generated(r.key, i, ids, tuple(own), tuple(own), ids[-1] != TOKENIZER.eos_token_id, len(r.prefix))

    return Author(engine, TOKENIZER)


def one(team, rules, problem=PROBLEM):
    (tree,) = search(team, [problem], rules)
    return tree


def first_half(candidate: Candidate) -> int:
    return len(candidate.ids) // 2


def rules(**more):
    return Rules(**{"seed": 0, "samples": 5, "prefix": first_half, "decoding": Decoding(max_tokens=64)} | more)


def some_good(key, index, given):
    return f" then {index}" if given else f"{'good' if index in (1, 3) else 'bad'} program number {index}"


def test_what_passes_is_refined_in_turns_and_takes_the_place_of_the_samples():
    tree = one(Team(author(some_good), Judge()), rules())
    assert tree.rounds == ["sample", "refine"] and tree.ended == "rounds"
    refined = [c.program for c in tree.in_play]
    assert [p.index for p in refined] == [5, 6, 7, 8, 9] and all(p.origin == "refine" for p in refined)
    assert [p.parent for p in refined] == [1, 3, 1, 3, 1]  # 5 / 2: the first seed has one more
    for program in refined:
        parent = tree.candidates[program.parent]
        given = program.extra["given"]
        assert given == tree.seeds[program.parent] > 0 and program.extra["token_ids"][:given] == list(parent.ids[:given])
        assert program.extra["written"] == program.tokens - given
    assert tree.tokens == sum(c.program.extra["written"] for c in tree.candidates)


def test_log_probabilities_of_a_refined_program_are_those_of_all_its_tokens():
    tree = one(Team(author(some_good), Judge()), rules())
    refined = tree.in_play[0]
    parent = tree.candidates[refined.program.parent]
    given = refined.program.extra["given"]
    assert len(refined.logprobs) == len(refined.ids) and refined.logprobs[:given] == parent.logprobs[:given]
    assert refined.program.logprob == pytest.approx(sum(parent.logprobs[:given]) - 0.125 * refined.program.extra["written"], abs=1e-4)


def test_all_stays_in_play_when_asked():
    tree = one(Team(author(some_good), Judge()), rules(pool=True))
    assert [c.program.index for c in tree.in_play] == list(range(10))


def test_without_refining_the_samples_are_returned():
    tree = one(Team(author(some_good), Judge()), rules(refine_rounds=0))
    assert tree.rounds == ["sample"] and len(tree.in_play) == 5


def none_good(key, index, given):
    return f"bad program number {index % 2}"


def test_repair_takes_the_best_failures_and_its_successes_are_refined():
    team = Team(author(none_good), Judge(), repair=author(lambda key, index, given: "good program" if index % 2 else "bad program"))
    tree = one(team, rules(repaired=2))
    assert tree.rounds == ["sample", "repair", "refine"]
    repaired = tree.candidates[5:10]
    assert {c.program.parent for c in repaired} == {0, 1} and all(c.program.origin == "repair" and c.program.extra["given"] == 0 for c in repaired)
    assert {c.program.parent for c in tree.candidates[10:]} == {c.program.index for c in repaired if c.passes}


def test_more_repairs_than_failures():
    team = Team(author(none_good), Judge(), repair=author(none_good))
    tree = one(team, rules(samples=3, repaired=7))
    assert [c.program.parent for c in tree.candidates[3:]] == [0, 1, 2]
    assert tree.rounds == ["sample", "repair"] and [c.program.index for c in tree.in_play] == [3, 4, 5]  # [d] the repaired ones are returned


def test_nothing_passes_and_there_is_no_repair_model():
    tree = one(Team(author(none_good), Judge()), rules())
    assert tree.rounds == ["sample"] and tree.ended == "rounds" and len(tree.in_play) == 5


def test_without_example_tests_the_samples_are_returned_unjudged():
    judge = Judge()
    tree = one(Team(author(some_good), judge, repair=author(some_good)), rules(), Problem("p", "say it", "stdin"))
    assert tree.ended == "no example tests" and len(tree.in_play) == 5 and judge.judged == []


def ragged(key, index, given):
    size = int.from_bytes(hashlib.blake2b(f"{key}{index}".encode(), digest_size=2).digest(), "little") % 9
    return " 7" * size if given else f"{'good' if index % 3 == 0 else 'bad'}{' 7' * size}"


@pytest.mark.parametrize("budget", [1, 7, 20, 33, 60, 61, 62, 63, 64, 90, 200])
def test_a_budget_keeps_what_writing_one_after_the_other_would_have_given(budget):
    """Also where it ends in the middle of a round: the programs are the first ones of a larger budget, up to the one that does not fit."""
    team = Team(author(ragged), Judge())
    tree, longer = (one(team, rules(max_tokens=b, refine_rounds=2)) for b in (budget, 400))
    assert tree.ended == "budget" and tree.tokens == budget
    texts = [(c.program.index, c.program.code, c.program.parent) for c in longer.candidates]
    costs = [c.program.extra["written"] for c in longer.candidates]
    fitting = next(n for n in range(len(costs)) if sum(costs[: n + 1]) > budget)
    assert [(c.program.index, c.program.code, c.program.parent) for c in tree.candidates] == texts[:fitting]
    assert tree.in_play == tree.candidates


def test_with_a_budget_left_over_sampling_begins_again():
    tree = one(Team(author(none_good), Judge()), rules(max_tokens=150))
    assert set(tree.rounds) == {"sample"} and len(tree.rounds) > 2 and tree.ended == "budget"


def test_a_problem_does_not_depend_on_its_neighbours():
    problems = [Problem(name, "say it", "stdin", examples=(Test("1", "1"),)) for name in "abcd"] + [Problem("e", "say it", "stdin")]
    team = Team(author(ragged), Judge(), repair=author(ragged))
    together = {t.problem.id: t for t in search(team, problems, rules(max_tokens=80))}
    for problem in problems:
        assert [c.program for c in one(team, rules(max_tokens=80), problem).candidates] == [c.program for c in together[problem.id].candidates]


def test_a_text_is_judged_once_in_a_search():
    judge = Judge()
    one(Team(author(none_good), judge), rules(max_tokens=150))
    assert sorted(judge.judged) == [("p", "bad program number 0"), ("p", "bad program number 1")]


@pytest.mark.parametrize("length", range(1, 12))
def test_a_seed_does_not_end_within_a_character(length):
    team = Team(author(lambda key, index, given: "x" if given else "good ☃☃"), Judge())
    tree = one(team, rules(samples=1, prefix=lambda c: min(length, len(c.ids))))
    assert "good ☃☃".startswith(tree.in_play[0].program.code[:-1]) and tree.seeds[0] <= length


def test_an_empty_seed_is_plain_regeneration():
    tree = one(Team(author(lambda key, index, given: f"good {index}"), Judge()), rules(samples=2, prefix=lambda c: 0))
    assert [c.program.code for c in tree.in_play] == ["good 2", "good 3"] and all(c.program.extra["given"] == 0 for c in tree.in_play)


def test_a_whole_program_as_seed_is_continued_at_its_end():
    tree = one(Team(author(lambda key, index, given: "" if given else "good"), Judge()), rules(samples=2, prefix=lambda c: len(c.ids)))
    assert [c.program.code for c in tree.in_play] == ["good", "good"] and all(c.program.extra["written"] == 1 for c in tree.in_play)


def test_prefixes_by_critic_log_probability_and_chance():
    program = Program("p", "x", 3)
    candidate = Candidate(program, (5, 6, 7, 8), (-0.1, -2.0, -0.2, -0.1), None, (0.6, 0.9, 0.3, 0.2), 0.5)
    assert by_critic(candidate) == 2 and by_critic(candidate, threshold=0.8) == 0 and by_log_probability(candidate) == 1
    lengths = [at_random(candidate._replace(program=Program("p", "x", i)), 0) for i in range(500)]
    assert set(lengths) == {0, 1, 2, 3, 4} and all(70 < lengths.count(n) < 130 for n in range(5))
    assert at_random(candidate, 0) == at_random(candidate, 0)


def test_scores_for_another_tokenization_by_hand():
    # "abcdef" as ab|cd|ef, scored .1 .2 .3; the others end after 1, 2, 5, 6 characters
    assert aligned((0.1, 0.2, 0.3), ("ab", "cd", "ef"), ("a", "b", "cde", "f")) == (0.1, 0.1, 0.2, 0.3)


def test_rules_that_make_no_sense_are_refused():
    team = Team(author(some_good), Judge())
    with pytest.raises(UsageError, match="samples is 0"):
        list(search(team, [PROBLEM], rules(samples=0)))
    with pytest.raises(UsageError, match="needs a critic"):
        list(search(team, [PROBLEM], rules(prefix=by_critic)))
