"""Writing programs: the same ones in one process and in several, greedy ones beside samples, and what happens when a process dies."""

import multiprocessing
import os
import signal
import threading
from collections import Counter

import pytest

from coderl import sampling
from coderl.engines.requests import Decoding
from coderl.errors import CoderlError, ModelError, UsageError
from coderl.models.actor import Actor, load_actor, save_actor, small_t5
from coderl.problems import mini
from coderl.prompts import prompt
from coderl.sampling import Settings, Task, count, sample, tasks_for, writers
from coderl.tokens import train_tokenizer, vocabulary_size

SETTINGS = Settings(Decoding(temperature=1.0, top_p=0.9, max_tokens=12), seed=4, max_source_tokens=64, name="m", rows=8)


@pytest.fixture(scope="module")
def problems():
    return mini.generate(0, train=10, tests_only=0, validation=0, heldout=0).train


@pytest.fixture(scope="module")
def folder(problems, tmp_path_factory):
    tokenizer = train_tokenizer((prompt(p) for p in problems), 300)
    actor = Actor(small_t5(vocabulary_size(tokenizer), 0, width=16, heads=2, feed_forward=32), tokenizer)
    save_actor(actor, tmp_path_factory.mktemp("model"))
    return tmp_path_factory.getbasetemp() / "model0"


def lines(programs):
    return sorted((p.problem, p.origin, p.index, p.code, tuple(p.extra["token_ids"])) for p in programs)


def written(folder, tasks, workers, settings=SETTINGS):
    with writers(folder, settings, workers) as write:
        return lines(write(tasks))


def test_several_processes_write_what_one_writes(folder, problems):
    tasks = tasks_for(problems, 5, baseline=lambda problem: True)
    alone = written(folder, tasks, 1)
    assert len(alone) == count(tasks) == 60
    assert written(folder, tasks, 3) == alone
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_beside_threads_processes_are_spawned(folder, problems):
    tasks, end = tasks_for(problems[:4], 2), threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert written(folder, tasks, 2) == written(folder, tasks, 1)
    finally:
        end.set()
        thread.join()


def test_a_worker_takes_several_hands(folder, problems):
    """rows 1: every hand holds few programs, so that each process is sent more than one."""
    tasks = tasks_for(problems, 3)
    assert len(sampling._parts(tasks, 1, 2)) > 4
    assert written(folder, tasks, 2, SETTINGS._replace(rows=1)) == written(folder, tasks, 1)


@pytest.mark.parametrize("rows, workers", [(1, 1), (4, 3), (100, 2), (100, 50)])
def test_hands_hold_every_program_once(problems, rows, workers):
    tasks = [Task(p, tuple(range(i)), baseline=i % 3 == 0) for i, p in enumerate(problems)]
    wanted = Counter((t.problem.id, i) for t in tasks for i in (*t.indices, *(["greedy"] * t.baseline)))
    hands = sampling._parts(tasks, rows, workers)
    assert wanted == Counter((t.problem.id, i) for hand in hands for t in hand for i in (*t.indices, *(["greedy"] * t.baseline)))
    assert all(len(t.indices) <= rows for hand in hands for t in hand)


def test_greedy_programs_beside_samples_change_neither(folder, problems):
    actor = load_actor(folder)
    both = list(sample(actor, tasks_for(problems, 3, baseline=lambda problem: True), SETTINGS))
    greedy = sample(actor, tasks_for(problems, 1), SETTINGS._replace(decoding=SETTINGS.decoding._replace(temperature=0)))
    assert lines(p for p in both if p.origin == "greedy") == lines(greedy)
    assert lines(p for p in both if p.origin == "sample") == lines(sample(actor, tasks_for(problems, 3), SETTINGS))
    assert all((p.seed is None) == (p.origin == "greedy") for p in both)


def test_only_what_is_missing_is_written(folder, problems):
    first, second = problems[:2]
    done = {(first.id, 1), (second.id, 0), (second.id, 1)}
    tasks = tasks_for([first, second], 2, lambda problem, index: (problem, index) in done, lambda problem: problem == second.id)
    assert [(t.problem.id, t.indices, t.baseline) for t in tasks] == [(first.id, (0,), False), (second.id, (), True)]
    assert [(p.problem, p.index, p.origin) for p in sorted(sample(load_actor(folder), tasks, SETTINGS), key=lambda p: p.origin)] == [
        (second.id, 0, "greedy"),
        (first.id, 0, "sample"),
    ]


def test_log_probabilities_are_kept_on_request(folder, problems):
    actor, tasks = load_actor(folder), tasks_for(problems[:2], 2, baseline=lambda problem: True)
    assert not any("sampling_logprobs" in p.extra for p in sample(actor, tasks, SETTINGS))
    for program in sample(actor, tasks, SETTINGS._replace(logprobs=True)):
        if program.origin == "greedy":
            assert "sampling_logprobs" not in program.extra
        else:
            assert len(program.extra["sampling_logprobs"]) == program.tokens
            assert program.logprob - 1e-3 <= sum(program.extra["sampling_logprobs"]) <= 0  # temperature 1


def test_a_process_that_dies_ends_the_stage_with_a_sentence(folder, problems):
    with writers(folder, SETTINGS._replace(rows=1), 2) as write:
        stream = write(tasks_for(problems, 30))
        next(stream)
        for child in multiprocessing.active_children():
            assert child.pid
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(CoderlError, match="a sampling process died"):
            list(stream)


def test_an_error_in_a_process_is_raised_here(folder, problems):
    with writers(folder, SETTINGS._replace(decoding=Decoding(temperature=-1.0)), 2) as write:
        with pytest.raises(UsageError, match="temperature is -1"):
            list(write(tasks_for(problems, 2)))


def test_a_folder_without_a_model_is_told_at_once(tmp_path):
    with pytest.raises(ModelError):
        with writers(tmp_path, SETTINGS, 2):
            pass
