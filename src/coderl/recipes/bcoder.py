"""What both training stages of B-Coder share: their data, its batches, what is computed once. Not a stage.

Both learn from judged programs and from ground truth, reference solutions, which pass. The paper draws half of each mini-batch from ground
truth; here each update has batches of both, L_Q is the mean over programs of each kind, and `real_share` says how much ground truth weighs: the
same expectation, whatever fits into a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..fitting import Plan, Progressed, Watch
    from ..frozen import Frozen
    from ..machine import Machine
    from ..models.bcoder import FrozenEncoder, LoadedQ
    from ..run_directory import RunDirectory
    from ..tokens import Batch, Example

SHARED = 8  # sampled programs of one problem side by side in a batch
SHARED_REFERENCES = 2
FROZEN_FILE = "frozen.safetensors"


@dataclass(frozen=True)
class Learning:
    """How a Q model learns, the same in both stages."""

    batch_tokens: int = 4096
    """tokens of sampled programs and their prompts in a step, padding included; as many of references come on top"""
    real_share: float = 0.5
    """weight of ground truth in L_Q beside sampled programs, 0 to 1 (B-Coder: half of each mini-batch)"""
    max_source_tokens: int = 192
    """longest prompt in tokens"""
    max_program_tokens: int = 128
    """longest program in tokens; longer samples are cut, longer references left out"""
    seed: int = 0
    """seed of heads, split and batch order"""


DEFAULT = Learning()


class Inputs(Protocol):
    """The fields that both Configs have."""

    @property
    def model(self) -> Path: ...
    @property
    def problems(self) -> Path: ...
    @property
    def programs(self) -> Path: ...
    @property
    def verdicts(self) -> Path: ...
    @property
    def references(self) -> Path: ...
    @property
    def out(self) -> Path: ...
    @property
    def learning(self) -> Learning: ...
    @property
    def training(self) -> Training: ...


class Data(NamedTuple):
    """Sampled programs and references to learn from, numbered over both; `held_out`: sampled programs of other problems, to measure on."""

    drawn: list[Example]
    real: list[Example]
    held_out: list[Example]

    @property
    def all(self) -> list[Example]:
        return [*self.drawn, *self.real]


def begin(config: Inputs) -> tuple[Machine, RunDirectory] | None:
    """The machine and the run; None when the run is complete already.

    Raises:
        UsageError: adapters were asked for.
    """
    from ..errors import UsageError
    from ..machine import this_machine
    from ..run_directory import RunDirectory

    if config.training.lora:
        raise UsageError(f"--lora {config.training.lora}: a Q model has several decoders and B-Coder trains one whole; leave it out")
    machine = this_machine(config.training.precision, config.training.threads)
    run = RunDirectory(config.out)
    if run.is_done(config):
        machine.say(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return None
    return machine, run


def read_data(config: Inputs, loaded: LoadedQ, held_out: float, machine: Machine) -> Data:
    """Judged programs and references as examples.

    Args:
        held_out: share of the sampled problems that is kept for measuring.

    Raises:
        DataError: a file does not hold what it should, or there is no verdict or no reference.
    """
    from ..errors import DataError
    from ..examples import Limits, join_verdicts, judged_examples, reference_examples
    from ..frozen import numbered
    from ..grading import programs_of
    from ..records import Problem, Verdict
    from ..store import read_records
    from .train_critic import split

    learning = config.learning
    limits = Limits(learning.max_source_tokens, learning.max_program_tokens)
    problems = {p.id: p for p in read_records(config.problems, Problem)}
    judged = join_verdicts(programs_of(config.programs), read_records(config.verdicts, Verdict))
    if not judged:
        raise DataError("holds no verdict that can be learnt from (all are harness errors); grade the programs again", config.verdicts)
    examples, cut = judged_examples(loaded.tokenizer, problems, judged, limits)
    drawn, kept = split(examples, held_out, learning.seed)
    unseen = {e.key for e in kept}
    references = reference_examples(loaded.tokenizer, read_records(config.references, Problem), limits).examples
    real = [e for e in references if e.key not in unseen]
    if not real:
        raise DataError("holds no reference that is short enough; give problems with solutions, or raise --max-program-tokens", config.references)
    machine.say(f"{len(drawn)} sampled programs and {len(real)} references to learn from, {len(kept)} programs of other problems to measure on")
    machine.say(f"{cut.prompts} prompts and {cut.programs} of {cut.of} sampled programs were too long and are cut")
    together = numbered([*drawn, *real])
    return Data(together[: len(drawn)], together[len(drawn) :], kept)


def epoch(learning: Learning, data: Data, number: int) -> Iterator[list[Example]]:
    """Batches of one pass over the sampled programs, as many tokens of references in each of them."""
    from ..tokens import epoch_batches

    def endless() -> Iterator[list[Example]]:
        turn = 0
        while True:
            yield from epoch_batches(data.real, learning.batch_tokens, learning.seed * 1_000_003 + number * 1_009 + turn, SHARED_REFERENCES)
            turn += 1

    references = endless()
    for batch in epoch_batches(data.drawn, learning.batch_tokens, learning.seed * 1_000_003 + number, SHARED):
        yield batch + next(references)


def start(config: Inputs, run: RunDirectory, machine: Machine, more: Sequence[Path | None] = ()) -> None:
    """Write the manifest; an unfinished run with other settings is refused."""
    from ..run_directory import manifest

    if machine.lead:
        files = (config.problems, config.programs, config.verdicts, config.references, *more)
        data = manifest(config, [path for path in files if path])
        data["config"]["processes"] = machine.processes
        run.start(data, begun=(run / FROZEN_FILE).exists())


def computed_once(loaded: LoadedQ, encoder: FrozenEncoder, data: Data, run: RunDirectory, machine: Machine) -> Frozen:
    """What does not change in the stage: read back if an interrupted run has left it, else computed and, by the lead process, stored."""
    from ..frozen import freeze, load_frozen, save_frozen
    from ..progress import progress

    path = run / FROZEN_FILE
    if path.exists():
        return load_frozen(path, data.all)
    loaded.model.to(machine.accelerator.device)
    with progress("reading once", total=len(data.all), unit="programs") as advance:
        frozen = freeze(loaded.model, encoder, data.all, loaded.tokenizer.pad_token_id, advance)
    if machine.lead:
        save_frozen(frozen, path)
    return frozen


def td_terms(q: Tensor, greedy_values: Tensor, batch: Batch, discount: float) -> dict[str, Tensor]:
    """Sums over programs of their TD losses (B-Coder eq. 12, 15), sampled programs and ground truth apart."""
    from ..formulas.bcoder import conservative_targets, td_losses, terminal_rewards
    from ..formulas.returns import outcome_returns

    rewards = terminal_rewards(outcome_returns(batch.outcomes), batch.mask)
    losses = td_losses(q, conservative_targets(rewards, greedy_values, batch.mask, discount), batch.mask)
    return {"loss_q_drawn": losses[~batch.supervised].sum(), "loss_q_real": losses[batch.supervised].sum()}


def td_weights(learning: Learning) -> dict[str, float]:
    """What sampled programs and ground truth weigh in L_Q."""
    return {"loss_q_drawn": 1 - learning.real_share, "loss_q_real": learning.real_share}


def counts(part: Sequence[Example]) -> dict[str, int]:
    """What the terms are means over: TD losses over programs, L_adv and L_ce over tokens of ground truth."""
    from ..fitting import program_tokens

    real = [e for e in part if e.supervised]
    return {"loss_q_drawn": len(part) - len(real), "loss_q_real": len(real), "loss_adv": program_tokens(real), "loss_ce": program_tokens(real)}


def fit_stage(
    config: Inputs,
    loaded: LoadedQ,
    data: Data,
    sums: Callable[[Batch], Mapping[str, Tensor]],
    weights: Mapping[str, float],
    plan: Plan,
    watch: Watch,
    run: RunDirectory,
    machine: Machine,
) -> Progressed:
    """The loop of a stage."""
    from ..fitting import Batches, Objective, fit
    from .training import prepared

    learning, training = config.learning, config.training
    batches = Batches(lambda number: epoch(learning, data, number), loaded.tokenizer.pad_token_id, learning.seed)
    objective = Objective(sums, lambda part: {name: n for name, n in counts(part).items() if name in weights}, weights)
    with prepared(training, loaded.model, learning.seed):
        return fit(loaded.model, batches, objective, plan, run, watch, machine)


def end(loaded: LoadedQ, run: RunDirectory, machine: Machine, name: str) -> None:
    """The model goes to RUN/name; what was stored for a resume goes."""
    from ..models.bcoder import save_q_model
    from .training import finish

    finish(run, machine, lambda folder: save_q_model(loaded.model, loaded.tokenizer, folder), name)
    if machine.lead:
        (run / FROZEN_FILE).unlink(missing_ok=True)
