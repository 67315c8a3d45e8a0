"""What the recipes at paper scale cost, by arithmetic that is all here: GPU hours, memory, CPU hours of the judge, for each kind of GPU.

    python runs/costs.py {coderl_apps,bcoder_apps,mbpp_zero_shot,codet5_pretrain}

No GPU was at hand. Training is estimated from what the CodeRL authors measured themselves: 10 epochs of warm start took 30 hours on one A100, which
is 8.3 % of its peak, and 150 epochs of pretraining took 10 days on 16 of them, which is 8.9 %. Other GPUs: the same share of their own peak. Writing
is memory traffic, or STEP_SECONDS where that is more: an assumption, since the torch engine starts its kernels one by one. The judge's figure is
measured (bench/RESULTS.md), the share of programs that time out is assumed. Real runs will differ by a factor of two either way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple


class Gpu(NamedTuple):
    """Dense bfloat16 multiply-adds, TFLOP/s; memory traffic, TB/s; memory, GB. From NVIDIA's data sheets."""

    name: str
    tflops: float
    traffic: float
    memory: float


A100 = Gpu("A100 40G", 312, 1.56, 40)
GPUS = (A100, Gpu("A100 80G", 312, 2.04, 80), Gpu("H100 80G", 989, 3.35, 80), Gpu("RTX 4090 24G", 165, 1.01, 24))


class Shape(NamedTuple):
    """Weights of a T5's encoder, of its decoder, and of the table of its vocabulary; width, layers and heads of each stack."""

    encoder: float
    decoder: float
    table: float
    width: int
    layers: int
    heads: int

    @property
    def weights(self) -> float:
        return self.encoder + self.decoder + self.table


def t5(width: int, layers: int, feed_forward: int, heads: int, rows: int = 32_100) -> Shape:
    """Projections q, k, v, o of width x width (twice in a decoder), and a feed-forward of two matrices."""
    attention, forward = 4 * width**2, 2 * width * feed_forward
    return Shape(layers * (attention + forward), layers * (2 * attention + forward), rows * width, width, layers, heads)


LARGE, SMALL = t5(1024, 24, 4096, 16), t5(512, 6, 2048, 8)  # CodeT5-770M, CodeT5-small
SOURCE, TARGET, PROMPT, PROGRAM = 600, 512, 500, 190  # tokens: padded as the authors have them; about the means, 527 and 187 (bench/apps_tokens.py)
PAIRS, KEPT = 5000 * 23.2, 107_500  # problems and solutions of APPS train [paper]; 7.3 % of the solutions have more than 512 tokens (the same)
STEP_SECONDS = 0.02  # a step of the torch engine on 128 rows at the least: 24 layers of some 40 kernels each, 20 microseconds apiece [assumed]
ROWS, SHARED = 128, 8  # programs written at the same time; programs of a prompt that share a pass of the encoder in training
JUDGED_SECONDS = 0.007 + 0.01 * 4  # CPU seconds of a program: 7 ms measured, and one in a hundred runs into the limit of 4 s [assumed]


def training_flops(shape: Shape, pairs: float, source: float, target: float, shared: float = 1) -> float:
    """6 x weights x tokens: forward and backward, the encoder once for `shared` programs of a prompt."""
    return 6 * pairs * (shape.encoder * source / shared + (shape.decoder + shape.table) * target)


def measured_share() -> float:
    """Of an A100's peak, what the authors' warm start reached: 10 epochs of padded pairs in 30 hours."""
    return training_flops(LARGE, 10 * PAIRS, SOURCE, TARGET) / (30 * 3600 * A100.tflops * 1e12)


def measured_share_of_pretraining() -> float:
    """The same of masked spans on CodeSearchNet: 1.1 billion tokens, 150 times, in 10 days on 16 GPUs; a fifth of the tokens are targets."""
    return training_flops(LARGE, 150 * 1.1e9, 1, 0.2) / (16 * 10 * 86_400 * A100.tflops * 1e12)


def training_hours(flops: float, gpu: Gpu) -> float:
    """GPU hours at the measured share of the peak."""
    return flops / (measured_share() * gpu.tflops * 1e12) / 3600


def writing_hours(programs: float, gpu: Gpu, tokens: float = PROGRAM, samples: float = 20, shape: Shape = LARGE) -> float:
    """GPU hours of sampling in float32: a step reads the decoder, each prompt's keys and values once, and half of what each row will have."""
    cached = 2 * shape.layers * shape.width * 4  # bytes of keys and values of a token
    step = 4 * (shape.decoder + shape.table) + cached * (ROWS / min(samples, ROWS) * PROMPT + ROWS * tokens / 2)
    return programs * tokens / ROWS * max(STEP_SECONDS, step / (gpu.traffic * 1e12)) / 3600


def training_memory(shape: Shape, source: float, target: float, checkpointing: bool) -> float:
    """GB for AdamW in float32 (16 bytes a weight) and for what a batch of so many prompt and program tokens keeps for the backward pass.

    A layer keeps 34 bytes a token and number of its width (bfloat16; Korthikanti et al. 2022), a decoder's layer half as much again, and
    8 bytes for each score of attention (two float32: T5's bias is added before the softmax); each program token 8 bytes for each row of the
    vocabulary. With checkpointing a layer keeps 2 bytes instead, and one layer at a time has the rest.
    """
    tokens = source + 1.5 * target
    scores = source * PROMPT + target * PROGRAM + target * PROMPT  # encoder, decoder, decoder to encoder
    layer = 34 * shape.width * tokens + 8 * shape.heads * scores
    kept = layer + 2 * shape.width * tokens * shape.layers if checkpointing else layer * shape.layers
    return (16 * shape.weights + kept + 8 * (shape.table / shape.width) * target) / 1e9


class Step(NamedTuple):
    """A row: floating-point operations of training, or programs to write (samples a problem) and to judge."""

    name: str
    flops: float = 0.0
    programs: float = 0.0
    samples: float = 20
    judged: float = 0.0


def steps_of(recipe: str) -> list[Step]:
    """The rows of a recipe; all counts as in the script of that name."""
    drawn, tested = 5000 * 20, 5000 * 1000
    if recipe == "coderl_apps":
        critic = training_flops(SMALL, 31_000 * 64, PROMPT, PROGRAM, SHARED)
        return [
            Step("warm start, 10 epochs", training_flops(LARGE, 10 * KEPT, PROMPT, PROGRAM, 4)),
            Step("20 samples of 5000 training problems", programs=drawn, judged=drawn),
            Step("critic (CodeT5-small), 31,000 updates", critic),
            Step("fine-tuning, 20 epochs of samples and a quarter of references", training_flops(LARGE, 20 * drawn * 1.25, PROMPT, PROGRAM, SHARED)),
            Step("1000 samples of 5000 test problems, one model", programs=tested, samples=1000, judged=2 * tested),
            Step("binary critic", critic),
            Step("repair model, 4,700 updates", training_flops(LARGE, 4_700 * 64, PROMPT + PROGRAM, PROGRAM)),
            Step("critic sampling, two rounds of 1000", programs=2 * tested, samples=1000, judged=3 * tested),
        ]
    if recipe == "bcoder_apps":
        drawn, ranked = 5000 * 256, 5000 * 256
        decoders = LARGE._replace(encoder=LARGE.encoder / 3)  # a frozen encoder goes forward only: 2 of 6
        value = training_flops(decoders, 18_000 * 256, PROMPT, PROGRAM, SHARED)
        return [
            Step("256 samples of 5000 training problems", programs=drawn, samples=256, judged=drawn),
            Step("value stage, 18,000 updates of 256", value),
            Step("fine-tuning, 10,000 updates of 128", 2 * training_flops(decoders, 10_000 * 128, PROMPT, PROGRAM, SHARED)),
            Step("256 candidates of 5000 test problems, two models", programs=2 * ranked, samples=256, judged=4 * ranked),
            Step("scores of the candidates", 2 * training_flops(LARGE, 2 * ranked, PROMPT, PROGRAM, SHARED) / 3),
        ]
    if recipe == "mbpp_zero_shot":
        return [Step("1000 samples of 500 problems, two models", programs=1e6, samples=1000, judged=1e6)]
    if recipe == "codet5_pretrain":
        return [
            Step("masked spans, CodeSearchNet, 150 epochs of 1.1 billion tokens", training_flops(LARGE, 150 * 1.1e9, 1, 0.2)),
            Step("masked spans, GitHub Python, 10 epochs of 10.5 billion", training_flops(LARGE, 10 * 10.5e9, 1, 0.2)),
            Step("next tokens, GitHub Python, 10 epochs of 10.5 billion", training_flops(LARGE, 10 * 10.5e9, 0.5, 0.5)),
        ]
    sys.exit(f"costs.py: {recipe!r} is no recipe; there are coderl_apps, bcoder_apps, mbpp_zero_shot, codet5_pretrain")


def rows_of(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """The table: a row a step, GPU hours on one GPU of each kind, CPU hours of the judge; the sums last."""
    rows: list[tuple[str, ...]] = [("step", *(gpu.name for gpu in GPUS), "judge, CPU h")]
    sums = [0.0] * (len(GPUS) + 1)
    for step in steps:
        hours = [training_hours(step.flops, g) + writing_hours(step.programs, g, samples=step.samples) for g in GPUS]
        hours.append(step.judged * JUDGED_SECONDS / 3600)
        sums = [a + b for a, b in zip(sums, hours, strict=True)]
        rows.append((step.name, *(f"{h:,.1f}" for h in hours)))
    return [*rows, ("all", *(f"{h:,.1f}" for h in sums))]


def memory_rows() -> list[tuple[str, ...]]:
    """GB of a training step of the 770M shape on 4,250 prompt and 3,250 program tokens (about what 8,500 with padding hold)."""
    plain, saved = (training_memory(LARGE, 4250, 3250, checkpointing) for checkpointing in (False, True))
    fits = lambda needed: ", ".join(g.name for g in GPUS if needed < 0.9 * g.memory) or "none"  # noqa: E731
    return [
        ("training, 770M, batches of 8,500 tokens", f"{plain:.0f} GB", fits(plain)),
        ("the same with --gradient-checkpointing", f"{saved:.0f} GB", fits(saved)),
    ]


def show(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))))


def main(words: Sequence[str]) -> None:
    if len(words) != 1:
        sys.exit("usage: python runs/costs.py {coderl_apps,bcoder_apps,mbpp_zero_shot,codet5_pretrain}")
    share, before = measured_share(), measured_share_of_pretraining()
    print(f"GPU hours on one GPU, at {share:.1%} of its peak in training (the authors' warm start; their pretraining: {before:.1%})")
    show(rows_of(steps_of(words[0])))
    print()
    show(memory_rows())


if __name__ == "__main__":
    main(sys.argv[1:])
