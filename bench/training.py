"""Training speed: real tokens a CPU second, beside Hugging Face's Trainer and beside the released recipe's padding; and two processes.

    python bench/training.py [--rounds 3]

Work: cross-entropy on Mini's references, whole updates (forward, backward, clipping, fused AdamW), float32. A real token is a token of
a program or of its prompt, counted for every program that is trained on, whether its prompt was computed once or again. All ways take
turns in one run, one thread each; a way's rate is the median of its rounds. The table of processes is wall time: it needs two free cores.
"""

import argparse
import multiprocessing
import os
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the demo's steps: threads that wait must not take a busy machine's core (pipeline.SPINS)

import torch
from results_file import put_section
from torch import Tensor
from transformers import T5ForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments

from coderl.examples import Limits, reference_examples
from coderl.fitting import Batches, Objective, Plan, Watch, fit, program_tokens
from coderl.formulas.masks import shift_right, token_log_probs
from coderl.formulas.policy_gradient import cross_entropy
from coderl.machine import this_machine
from coderl.models.actor import program_log_probs, small_t5
from coderl.problems import mini
from coderl.prompts import prompt
from coderl.run_directory import RunDirectory, git_commit
from coderl.tokens import IGNORE, Batch, Example, collate, epoch_batches, pad, train_tokenizer

HERE = Path(__file__).resolve().parent
BUDGET, SHARED = 1024, 4  # the warm start's defaults
SOURCE, TARGET = 600, 512  # what the released code pads to
RATE = 1e-4
Forward = Callable[[T5ForConditionalGeneration, Batch], Tensor]


class Work(NamedTuple):
    """A model's size and how many updates of each way are timed.

    Fields:
        name: in the table. updates: ours and the Trainer's. padded: updates with padding to 600/512, of `padded_rows` rows.
    """

    name: str
    updates: int
    padded: int
    padded_rows: int


WORKS = (Work("0.6M, the demo's", 60, 2, 8), Work("60M, CodeT5-small's shape", 4, 1, 2))


class Rate(NamedTuple):
    """Real tokens and the seconds that they took."""

    tokens: int
    cpu: float
    wall: float


def model_of(work: Work) -> T5ForConditionalGeneration:
    if work.name.startswith("60M"):
        return small_t5(32_100, 0, width=512, layers=6, heads=8, feed_forward=2048)
    return small_t5(1024, 0)


def references() -> list[Example]:
    """Mini's references, the tokenizer trained on them."""
    problems = mini.generate(0, train=300, tests_only=0, validation=0, heldout=0).train
    tokenizer = train_tokenizer(text for p in problems for text in (prompt(p), *p.solutions))
    return reference_examples(tokenizer, problems, Limits(SOURCE, TARGET)).examples


def real_tokens(batch: Sequence[Example]) -> int:
    return sum(len(e.prompt) + len(e.program) for e in batch)


def ours(work: Work, examples: Sequence[Example], forward: Forward, threads: int = 1) -> Rate:
    """`fit` as the recipes call it; a few updates before the clock starts."""
    model, machine, batches = model_of(work), this_machine(threads=threads), list(epoch_batches(examples, BUDGET, 0, SHARED))
    marks: list[tuple[float, float]] = []

    def sums(batch: Batch) -> dict[str, Tensor]:
        marks.append((time.process_time(), time.monotonic()))
        return {"loss": cross_entropy(forward(model, batch), batch.mask) * batch.mask.sum()}

    objective = Objective(sums, lambda part: {"loss": program_tokens(part)}, {"loss": 1.0})
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(work.updates + 2, RATE)
        fit(model, Batches(lambda epoch: iter(batches), 0, 0), objective, plan, RunDirectory(folder), Watch("bench", 0, 0, 0), machine)
    first, last = marks[1], marks[-1]  # from the start of the second update to that of the last: `updates` whole ones
    used = batches[machine.processes : machine.processes * (work.updates + 1)]
    return Rate(sum(map(real_tokens, used)), last[0] - first[0], last[1] - first[1])


def their_forward(model: T5ForConditionalGeneration, batch: Batch) -> Tensor:
    """`program_log_probs` by the model's own stacks: shared prompts and a head on real positions, padding everywhere else."""
    encoded = model.encoder(input_ids=batch.prompts, attention_mask=batch.prompt_mask.long()).last_hidden_state
    look = batch.prompt_mask.index_select(0, batch.row_prompt).long()
    states = encoded.index_select(0, batch.row_prompt)
    ids = shift_right(batch.labels, 0, 0, IGNORE)
    hidden = model.decoder(input_ids=ids, encoder_hidden_states=states, encoder_attention_mask=look, use_cache=False).last_hidden_state
    kept = hidden[batch.mask] * (model.config.d_model**-0.5 if model.config.scale_decoder_outputs else 1.0)
    flat = token_log_probs(model.lm_head(kept)[None], batch.labels[batch.mask][None])[0]
    return torch.zeros(batch.labels.shape).masked_scatter(batch.mask, flat)


class Clock(TrainerCallback):
    """CPU and wall time at the end of every step of a Trainer."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.marks.append((time.process_time(), time.monotonic()))


def trainer(work: Work, examples: Sequence[Example], rows: int) -> Rate:
    """Hugging Face's Trainer, batches of `rows` programs grouped by length, padded to the longest of the batch."""
    sizes: list[int] = []

    def batch(items: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        sizes.append(sum(len(i["input_ids"]) + len(i["labels"]) for i in items))
        (ids, mask), (labels, _) = pad([i["input_ids"] for i in items], 0), pad([i["labels"] for i in items], IGNORE)
        return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}

    data = [{"input_ids": list(e.prompt), "labels": list(e.program)} for e in examples]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=work.updates + 1,
            per_device_train_batch_size=rows,
            train_sampling_strategy="group_by_length",
            learning_rate=RATE,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        Trainer(model_of(work), arguments, data_collator=batch, train_dataset=data, callbacks=[clock]).train()  # type: ignore[arg-type]
    first, last = clock.marks[0], clock.marks[-1]
    return Rate(sum(sizes[1 : work.updates + 1]), last[0] - first[0], last[1] - first[1])


def padded(work: Work, examples: Sequence[Example]) -> Rate:
    """Every row its own prompt, padded to 600 and 512, the padding in every product, as the released recipe trains."""
    model = model_of(work)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    cpu, wall, tokens = time.process_time(), time.monotonic(), 0
    for step in range(work.padded):
        group = examples[step * work.padded_rows : (step + 1) * work.padded_rows]
        batch = collate(group, 0)
        prompts = torch.nn.functional.pad(batch.prompts[batch.row_prompt], (0, SOURCE - batch.prompts.shape[1]))
        labels = torch.nn.functional.pad(batch.labels, (0, TARGET - batch.labels.shape[1]), value=IGNORE)
        model(input_ids=prompts, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        tokens += real_tokens(group)
    return Rate(tokens, time.process_time() - cpu, time.monotonic() - wall)


def in_turns(ways: dict[str, Callable[[], Rate]], rounds: int) -> dict[str, float]:
    """Median real tokens a CPU second of every way."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            rate = way()
            found[name].append(rate.tokens / rate.cpu)
    return {name: statistics.median(rates) for name, rates in found.items()}


def side_by_side(work: Work, examples: Sequence[Example], rounds: int) -> list[str]:
    """Rows of the table for one model."""
    batches = list(epoch_batches(examples, BUDGET, 0, SHARED))
    rows = round(len(examples) / len(batches))
    ways: dict[str, Callable[[], Rate]] = {
        "ours": lambda: ours(work, examples, program_log_probs),
        "our batches, Hugging Face's forward": lambda: ours(work, examples, their_forward),
        f"Trainer, group_by_length, {rows} programs": lambda: trainer(work, examples, rows),
        f"padding to {SOURCE}/{TARGET}, {work.padded_rows} programs": lambda: padded(work, examples),
    }
    rates = in_turns(ways, rounds)
    return [f"| {work.name} | {name} | {rate:,.0f} | {rates['ours'] / rate:.1f} |" for name, rate in rates.items()]


def one_of_two(rank: int, port: int, work: Work, examples: Sequence[Example], results: "multiprocessing.Queue[Rate]") -> None:
    """One of two processes, told of the other as a launcher would."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    results.put(ours(work, examples, program_log_probs))
    torch.distributed.destroy_process_group()


def two_processes(work: Work, examples: Sequence[Example]) -> Rate:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [context.Process(target=one_of_two, args=(rank, port, work, examples, results)) for rank in (0, 1)]
    for one in pair:
        one.start()
    found = [results.get(timeout=600) for _ in pair]
    for one in pair:
        one.join()
    return Rate(found[0].tokens, sum(rate.cpu for rate in found), max(rate.wall for rate in found))


def two_cores(work: Work, examples: Sequence[Example], rounds: int) -> list[str]:
    """Rows of the table of processes: wall time on two cores."""
    ways: dict[str, Callable[[], Rate]] = {
        "one process, one thread": lambda: ours(work, examples, program_log_probs),
        "one process, two threads": lambda: ours(work, examples, program_log_probs, 2),
        "two processes, one thread each": lambda: two_processes(work, examples),
    }
    found: dict[str, list[Rate]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    wall = {name: statistics.median(r.tokens / r.wall for r in rates) for name, rates in found.items()}
    cpu = {name: statistics.median(r.tokens / r.cpu for r in rates) for name, rates in found.items()}
    first = next(iter(wall.values()))
    return [f"| {work.name} | {name} | {wall[name]:,.0f} | {wall[name] / first:.2f} | {cpu[name]:,.0f} |" for name in ways]


def padding_share(examples: Sequence[Example]) -> str:
    """How much of our batches is padding, and how many programs share a prompt."""
    batches = list(epoch_batches(examples, BUDGET, 0, SHARED))
    tensors = [collate(batch, 0) for batch in batches]
    real = sum(int(t.prompt_mask.sum() + t.mask.sum()) for t in tensors)
    whole = sum(t.prompts.numel() + t.labels.numel() for t in tensors)
    prompts = sum(len(t.prompts) for t in tensors)
    return (
        f"Batches of at most {BUDGET} tokens hold {len(examples) / len(batches):.1f} programs with {len(examples) / prompts:.1f} programs a prompt; "
        f"{1 - real / whole:.0%} of their places are padding, which is computed in attention only."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    examples = references()
    lines = [
        f"Command: `python bench/training.py --rounds {rounds}`, commit {git_commit()}, {platform.platform()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, Python {platform.python_version()}.",
        f"Medians of {rounds} rounds, ways in turns; the machine is shared: compare within a model. {padding_share(examples)}",
        "",
        "| model | way | real tokens a CPU second | ours to it |",
        "|---|---|---|---|",
        *(row for work in WORKS for row in side_by_side(work, examples, rounds)),
        "",
        f"Two cores, load {os.getloadavg()[0]:.1f} (one-minute mean, this program included):",
        "",
        "| model | processes | real tokens a second | to the first row | real tokens a CPU second |",
        "|---|---|---|---|---|",
        *(row for work in WORKS for row in two_cores(work, examples, rounds)),
        "",
        "On a GPU: not measured.",
    ]
    put_section(HERE / "RESULTS.md", "Training", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
