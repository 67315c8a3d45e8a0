"""Sentences from made-up numbers."""

import pytest

from coderl.diagnosis.facts import Facts, Look
from coderl.diagnosis.words import percent, what_happened

FIRST = Look(0, 0.300, {"compile_error": 0.20, "runtime_error": 0.10, "failed_test": 0.40, "passed_test": 0.30}, 33.0, 0.21, 0.0, 0.80)
LAST = Look(200, 0.400, {"compile_error": 0.08, "runtime_error": 0.102, "failed_test": 0.418, "passed_test": 0.40}, 34.0, 0.17, 0.0312, 0.78)
SIGNAL = {"zero": 0.612, "negative": 0.05, "none_pass": 0.5, "all_pass": 0.1, "merged": 1000.0, "value": 0.31}
CRITIC = {"critic/accuracy": 0.62, "critic/majority": 0.5, "critic/auc": 0.714}
STEPS = tuple({"step": s, "loss": 1.0, "gradient_norm": 0.5, "gradient_clipped": 0.25} for s in range(10, 201, 10))
RUN = Facts("finetune-coderl", {"learning_rate": 5e-4, "epochs": 2.0}, 200, SIGNAL | CRITIC, (FIRST, LAST), STEPS)


def test_a_whole_run_in_words():
    assert what_happened(RUN) == [
        "Greedy pass@1 on 200 validation problems rose: 30.0 % before, 40.0 % after 200 updates (+10.0 points; chance alone moves it by up to 4.8).",
        "That is because compile errors fell by 12.0 and failed tests rose by 1.8 points.",
        "61 % of the samples carried no signal; 50 % of the problems had no sample that passes and 10 % only such; "
        "5.0 % of the weight pushes programs down.",
        "On these samples, many of which it learnt from: critic AUC 0.71 (0.5 is a coin), right on 62 % of the programs where always naming the most "
        "frequent outcome is right on 50 %; its mean value of a token is 0.31.",
        "200 updates of about 10 sampled programs, peak rate 0.0005; gradient norm 0.50 on average, cut to 1 in 25 % of them.",
        "The actor is 0.031 nats a token from its start; entropy 0.21 -> 0.17 nats a token; greedy programs 33 -> 34 tokens; distinct among a "
        "problem's drawn programs 80 -> 78 %.",
    ]


@pytest.mark.parametrize(("last", "verb"), [(0.40, "rose"), (0.32, "stayed where it was"), (0.28, "stayed where it was"), (0.10, "fell")])
def test_what_is_within_chance_did_not_move(last, verb):
    sentence = what_happened(RUN._replace(looks=(FIRST, LAST._replace(greedy=last))))[0]
    assert sentence.startswith(f"Greedy pass@1 on 200 validation problems {verb}: ")


def test_the_actor_that_was_kept_is_named():
    looks = (FIRST, LAST._replace(step=100), FIRST._replace(step=200, greedy=0.1))
    assert any("the best look, at update 100 (40.0 %)" in s for s in what_happened(RUN._replace(looks=looks, kept=100)))
    assert any("No look was better than the start (30.0 %): OUT/actor" in s for s in what_happened(RUN._replace(looks=looks, kept=0)))
    assert not any("OUT/actor" in s for s in what_happened(RUN._replace(kept=200)))


def test_without_numbers_there_are_no_sentences():
    assert what_happened(Facts("finetune-grpo")) == ["The pass rate is not known: the run had no --validation."]
    assert what_happened(Facts("train-critic")) == []


def test_a_critic_in_words():
    numbers = {"held_out/accuracy": 0.45, "held_out/majority": 0.5, "held_out/auc": 0.66}
    assert what_happened(Facts("train-critic", critic=numbers)) == [
        "On problems it was not trained on the critic is right on 45 % of the programs, AUC of passing 0.66; "
        "always naming the most frequent outcome is right on 50 %."
    ]


def test_percent():
    assert [percent(x) for x in (0.0, 0.004, 0.0994, 0.0996, 0.5, 1.0)] == ["0 %", "0.4 %", "9.9 %", "10 %", "50 %", "100 %"]
