"""Speed of generation against peers, in one run and in turns: `python bench/generation.py`. Writes a section of bench/RESULTS.md.

    models     Mini's default (0.62M parameters) and one of CodeT5-small's shape (60M); random weights, made about as sure of a token as
               a trained actor is
    work       prompts of Mini, 20 and 200 programs for each; every program has a length of its own, drawn from those of Mini's references,
               so that ends are as ragged as they are in reality. No model ends by itself (</s> is out of the game); nucleus sampling,
               temperature 0.6, top_p 0.95, over the whole vocabulary
    ours       the torch engine: a program is a request with its length as `max_tokens`. Both log-probabilities of each token come with it
    peers      Hugging Face `generate(num_return_sequences)`, a call a prompt, up to the longest of its programs: it does not drop rows that are
               finished, so that this is the work that it would do. CTranslate2, all prompts in one batch, float32 and int8: a program is
               ended by a callback, whose cost is measured beside (at equal lengths, with and without) and taken off again. No scores are
               asked of either
    floor      the decoder's matrix products alone, at the speed that torch.mm has for these shapes and 512 rows, and attention at the best of them

One thread. CPU time and wall time; the machine is shared: ratios within a row mean something.
"""

from __future__ import annotations

import itertools
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import ctranslate2
import torch
from results_file import put_section
from transformers import PreTrainedTokenizerBase, T5ForConditionalGeneration

from coderl.engines import ctranslate2_engine
from coderl.engines.ctranslate2_engine import specification
from coderl.engines.requests import Decoding, Generated, Request
from coderl.engines.torch_engine import generate
from coderl.models.actor import Actor, save_actor, small_t5
from coderl.problems import mini
from coderl.prompts import prompt
from coderl.records import Problem
from coderl.run_directory import git_commit
from coderl.sampling import Settings, tasks_for, writers
from coderl.tokens import encode_program, encode_prompt, train_tokenizer

HERE = Path(__file__).resolve().parent
TEMPERATURE, TOP_P = 0.6, 0.95
TITLE = "Generation"


class Job(NamedTuple):
    """Prompts, and for each the lengths of its programs in tokens."""

    prompts: list[tuple[int, ...]]
    lengths: list[list[int]]

    @property
    def programs(self) -> int:
        return sum(map(len, self.lengths))

    @property
    def tokens(self) -> int:
        return sum(map(sum, self.lengths))


class Cost(NamedTuple):
    """Seconds of CPU and of the clock."""

    cpu: float
    wall: float


class Texts(NamedTuple):
    """Mini: its problems, a tokenizer, prompts as ids, and the lengths of the reference programs with </s>."""

    problems: list[Problem]
    tokenizer: PreTrainedTokenizerBase
    prompts: list[tuple[int, ...]]
    lengths: list[int]


def mini_texts(count: int) -> Texts:
    problems = mini.generate(0, train=count, tests_only=0, validation=0, heldout=0).train
    tokenizer = train_tokenizer(text for p in problems for text in (prompt(p), *p.solutions))
    prompts = [encode_prompt(tokenizer, prompt(p), 192)[0] for p in problems]
    return Texts(problems, tokenizer, prompts, [len(encode_program(tokenizer, code, 512)[0]) for p in problems for code in p.solutions])


def t5_of_60m() -> T5ForConditionalGeneration:
    """CodeT5-small's shape."""
    return small_t5(32100, 0, width=512, layers=6, heads=8, feed_forward=2048)


def t5_of_220m() -> T5ForConditionalGeneration:
    """CodeT5-base's shape."""
    return small_t5(32100, 0, width=768, layers=12, heads=12, feed_forward=3072)


def sharpened(model: T5ForConditionalGeneration, spread: float) -> T5ForConditionalGeneration:
    """The model with a head of its own, logits normal with standard deviation `spread`.

    20 makes two of three tokens surer than 0.9, as an actor trained on Mini is (0.66 of its tokens). With the head that random weights
    share with the embedding it would repeat one token for ever, each with probability 1.
    """
    with torch.no_grad():
        model.decoder.final_layer_norm.weight.fill_(spread)
        scale = 1.0 if model.config.scale_decoder_outputs else model.config.d_model**-0.5
        model.lm_head.weight = torch.nn.Parameter(scale * torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def measured(work: Callable[[], int], tokens: int) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    done = work()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall)
    assert done == tokens, f"{done} tokens written, {tokens} wanted"
    return cost


def ours(model: T5ForConditionalGeneration, job: Job) -> int:
    requests = [
        Request(f"{p}", ids, (j,), Decoding(TEMPERATURE, TOP_P, length))
        for p, (ids, lengths) in enumerate(zip(job.prompts, job.lengths))
        for j, length in enumerate(lengths)
    ]
    return sum(len(g.ids) for g in generate(model, requests, seed=0))


@torch.inference_mode()
def hugging_face(model: T5ForConditionalGeneration, job: Job) -> int:
    for ids, lengths in zip(job.prompts, job.lengths):
        written = model.generate(
            input_ids=torch.tensor([ids]),
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=0,
            num_return_sequences=len(lengths),
            max_new_tokens=max(lengths),
        )
        assert written.shape == (len(lengths), 1 + max(lengths))
    return job.tokens


def translate(model: ctranslate2.Translator, job: Job, end: Callable[[ctranslate2.GenerationStepResult], bool] | None, likeliest: int = 0) -> int:
    """Tokens written by CTranslate2 until `end` says so, or up to the longest program of the job, from the `likeliest` tokens (0: all)."""
    results = model.translate_batch(
        [[str(i) for i in ids] for ids in job.prompts],
        beam_size=1,
        num_hypotheses=len(job.lengths[0]),
        sampling_topk=likeliest,
        sampling_topp=TOP_P,
        sampling_temperature=TEMPERATURE,
        min_decoding_length=max(map(max, job.lengths)),  # </s> is not to be had before
        max_decoding_length=max(map(max, job.lengths)),
        callback=end,
    )
    return sum(len(h) for r in results for h in r.hypotheses)


def ragged(model: ctranslate2.Translator, job: Job, likeliest: int = 0) -> int:
    lengths = job.lengths
    return translate(model, job, lambda step: step.step + 1 >= lengths[step.batch_id][step.hypothesis_id], likeliest)


def callback_seconds(model: ctranslate2.Translator, job: Job) -> float:
    """CPU seconds of one call of a callback: the same job with equal lengths, with and without, in turns. The model does not matter, so
    a small one, in which the callback weighs most, tells best."""
    length = round(mean(itertools.chain(*job.lengths)))
    even = Job(job.prompts, [[length] * len(own) for own in job.lengths])
    lengths = even.lengths
    pairs = [
        (
            measured(lambda: translate(model, even, lambda s: s.step + 1 >= lengths[s.batch_id][s.hypothesis_id]), even.tokens).cpu,
            measured(lambda: translate(model, even, None), even.tokens).cpu,
        )
        for _ in range(3)
    ]
    return max(0.0, median(a - b for a, b in pairs)) / even.tokens


def floor_seconds(model: T5ForConditionalGeneration, job: Job, rows: int = 512) -> tuple[float, float, float]:
    """CPU seconds of the decoder's arithmetic for one token; its floating-point operations; the best rate seen (operations a second)."""
    c = model.config
    inner = c.num_heads * c.d_kv
    shapes = [(c.d_model, 3 * inner), (inner, c.d_model), (c.d_model, inner), (inner, c.d_model), (c.d_model, c.d_ff), (c.d_ff, c.d_model)]
    seconds = {shape: product_seconds(rows, *shape) for shape in {*shapes, (c.d_model, c.vocab_size)}}
    best = max(2 * a * b / s for (a, b), s in seconds.items())
    looked_at = mean(map(len, job.prompts)) + sum(n * (n + 1) / 2 for own in job.lengths for n in own) / job.tokens
    attention = c.num_decoder_layers * 4 * inner * looked_at
    products = c.num_decoder_layers * sum(2 * a * b for a, b in shapes) + 2 * c.d_model * c.vocab_size
    total = c.num_decoder_layers * sum(seconds[s] for s in shapes) + seconds[c.d_model, c.vocab_size] + attention / best
    return total, products + attention, best


def product_seconds(rows: int, inner: int, width: int) -> float:
    """CPU seconds for one row of (rows, inner) x (inner, width)."""
    a, b, out = torch.randn(rows, inner), torch.randn(width, inner).t(), torch.empty(rows, width)
    repeats = max(3, int(3e9 / (2 * rows * inner * width)))
    times = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        times.append((time.process_time() - began) / repeats / rows)
    return min(times)


def translator(model: T5ForConditionalGeneration, compute_type: str) -> ctranslate2.Translator:
    with tempfile.TemporaryDirectory() as folder:
        specification(model, compute_type).save(folder)
        return ctranslate2.Translator(folder, compute_type=compute_type, inter_threads=1, intra_threads=1)


def compare(name: str, model: T5ForConditionalGeneration, jobs: Sequence[Job], rounds: int, callback: float) -> list[str]:
    """Rows of the table for one model; `callback` in seconds a token."""
    lines = []
    converted = {kind: translator(model, kind) for kind in ("float32", "int8")}
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    for job in jobs:
        ways: dict[str, Callable[[], int]] = {
            "ours": lambda job=job: ours(model, job),
            "Hugging Face": lambda job=job: hugging_face(model, job),
            "CTranslate2 float32": lambda job=job: ragged(converted["float32"], job),
            "CTranslate2 int8": lambda job=job: ragged(converted["int8"], job),
            "CTranslate2 float32, of the 64 likeliest tokens (another distribution)": lambda job=job: ragged(converted["float32"], job, 64),
        }
        call = callback * job.tokens
        costs: dict[str, list[Cost]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, work in ways.items():
                cost = measured(work, job.tokens)
                off = call if way.startswith("CTranslate2") else 0.0
                costs[way].append(Cost(cost.cpu - off, cost.wall - off))
        seconds, operations, best = floor_seconds(model, job)
        middle = {way: Cost(median(c.cpu for c in own), median(c.wall for c in own)) for way, own in costs.items()}
        head = f"{name}, {len(job.lengths[0])} a prompt"
        for way, cost in middle.items():
            ratio = "" if way == "ours" else f"{cost.cpu / middle['ours'].cpu:.2f} ({cost.wall / middle['ours'].wall:.2f})"
            spread = [c.cpu for c in costs[way]]
            lines.append(
                f"| {head} | {way} | {job.programs / cost.cpu:,.1f} | {job.programs / max(spread):,.1f}-{job.programs / min(spread):,.1f} | "
                f"{job.programs / cost.wall:,.1f} | {job.tokens / cost.cpu:,.0f} | {ratio} | {cost.cpu / (seconds * job.tokens):.1f} |"
            )
        lines.append(
            f"| {head} | *floor* ({operations / 1e6:,.2f} MFLOP a token, best product {best / 1e9:.0f} GFLOP/s) | "
            f"{job.programs / (seconds * job.tokens):,.1f} | | | {1 / seconds:,.0f} | | 1 |"
        )
        print("\n".join(lines[-len(ways) - 1 :]), flush=True)
    return lines


def as_driven(name: str, model: T5ForConditionalGeneration, prompts: Sequence[tuple[int, ...]], length: int, rounds: int) -> str:
    """A row of the second table: the engines as `sample` calls them, both log-probabilities of each token included."""
    requests = [Request(str(i), ids, tuple(range(20)), Decoding(TEMPERATURE, TOP_P, length)) for i, ids in enumerate(prompts)]
    with tempfile.TemporaryDirectory() as folder:
        ways: list[Callable[[], Iterator[Generated]]] = [lambda: generate(model, requests, seed=0)]
        for kind in ctranslate2_engine.COMPUTE_TYPES:
            place = Path(folder) / kind
            place.mkdir()
            specification(model, kind).save(str(place))
            converted = ctranslate2_engine.Converted(place, kind, model.config.vocab_size, 2)
            ways.append(lambda converted=converted: ctranslate2_engine.generate(converted, requests, seed=0))
        rates: list[list[float]] = [[] for _ in ways]
        for _ in range(rounds):
            for way, own in zip(ways, rates):
                began = time.process_time()
                tokens = sum(len(g.ids) for g in way())
                own.append(tokens / (time.process_time() - began))
    torch_rate, *others = map(median, rates)
    line = f"| {name} | {torch_rate:,.0f} | " + " | ".join(f"{rate:,.0f} | {torch_rate / rate:.2f}" for rate in others) + " |"
    print(line, flush=True)
    return line


def job(prompts: Sequence[tuple[int, ...]], lengths: Sequence[int], count: int, samples: int) -> Job:
    draw = random.Random(f"{count}/{samples}")
    return Job(draw.sample(list(prompts), count), [draw.choices(lengths, k=samples) for _ in range(count)])


def spread(problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase, length: int, rounds: int) -> str:
    """Programs a second of the clock by `sampling.writers` with one process and with two, in turns."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    settings = Settings(Decoding(TEMPERATURE, TOP_P, length), 0, 192)
    tasks = tasks_for(problems, 20)
    with tempfile.TemporaryDirectory() as folder:
        save_actor(Actor(small_t5(len(tokenizer), 0), tokenizer), folder)
        for _ in range(rounds):
            for workers, own in seconds.items():
                with writers(Path(folder), settings, workers) as write:
                    sum(1 for _ in write(tasks[:workers]))  # whoever is started is ready
                    began = time.perf_counter()
                    written = sum(1 for _ in write(tasks))
                    own.append(time.perf_counter() - began)
    one, two = (written / median(own) for own in seconds.values())
    work = f"`sample`, 0.62M, {len(tasks)} prompts x 20"
    return f"{work}: one process {one:,.0f} programs a second of the clock, two processes {two:,.0f} ({two / one:.2f} times)."


def section(rows: Sequence[str], driven: Sequence[str], processes: str, lengths: Sequence[int], callback: float, commit: str) -> list[str]:
    return [
        f"Command: `python bench/generation.py`, commit {commit}, {platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"CTranslate2 {ctranslate2.__version__}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}.",
        f"One thread, ways in turns, medians. Programs have lengths of their own, drawn from Mini's references (mean {mean(lengths):.1f} tokens, "
        f"{min(lengths)} to {max(lengths)}). Temperature {TEMPERATURE}, top_p {TOP_P} over the whole vocabulary. "
        f"CTranslate2's callback, {1e6 * callback:.1f} us a token, is taken off. What is what: see the head of bench/generation.py.",
        "",
        "| work | engine | programs a CPU second | lowest-highest | programs a second | tokens a CPU second | ours to it, CPU (wall) | floor |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"As `sample` drives them, scores of every token included (prompts x 20 programs of {round(mean(lengths))} tokens): tokens a CPU second.",
        "",
        "| model | torch | CTranslate2 float32 | torch to it | CTranslate2 int8 | torch to it |",
        "|---|---|---|---|---|---|",
        *driven,
        "",
        processes,
    ]


def main() -> None:
    torch.set_num_threads(1)
    commit = git_commit() or "unknown"  # of the code that is loaded: the tree may move on meanwhile
    problems, tokenizer, prompts, lengths = mini_texts(300)
    length = round(mean(lengths))
    processes = spread(problems[:60], tokenizer, length, 3)
    print(processes, flush=True)
    default, middle = sharpened(small_t5(1024, 0), 20), sharpened(t5_of_60m(), 24)
    driven = [
        as_driven("0.62M, 25 prompts", default, prompts[:25], length, 5),
        as_driven("60M, 4 prompts", middle, prompts[:4], length, 3),
        as_driven("220M, 2 prompts", sharpened(t5_of_220m(), 24), prompts[:2], length, 3),
    ]
    callback = callback_seconds(translator(default, "float32"), job(prompts, lengths, 25, 20))
    rows = compare("0.62M", default, [job(prompts, lengths, 25, 20), job(prompts, lengths, 3, 200)], 5, callback)
    rows += compare("60M", middle, [job(prompts, lengths, 4, 20), job(prompts, lengths, 1, 200)], 3, callback)
    put_section(HERE / "RESULTS.md", TITLE, section(rows, driven, processes, lengths, callback, commit))


if __name__ == "__main__":
    main()
