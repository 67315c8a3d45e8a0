"""Where a training stage computes: which device, in which number format, and beside which other processes.

accelerate is the layer underneath: a stage started by `accelerate launch` (or torchrun) finds the other processes, averages gradients
with them, and is otherwise the same code. Checkpoints, logs, prints and looks at validation problems are the lead process's affair.
Here: one process, several on CPUs (gloo), several on GPUs (DDP), or either with sharded weights (FSDP, models/shards.py).
"""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import patch_environment
from torch import Tensor

from .errors import UsageError
from .tokens import Batch

Precision = Literal["auto", "float32", "bfloat16"]


class Machine(NamedTuple):
    """What a training loop needs to know of where it runs.

    Fields:
        accelerator: of this process; knows device, number of processes, and how gradients are averaged.
        dtype: of matrix products; weights, their updates and losses are float32 whatever it is.
        sharded: each process keeps a part of the weights, gradients and optimiser states, not all of them.
    """

    accelerator: Accelerator
    dtype: torch.dtype
    sharded: bool = False

    @property
    def lead(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return bool(self.accelerator.is_main_process)

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    def say(self, text: str) -> None:
        """Print a line, once however many processes there are."""
        if self.lead:
            print(text)

    def here(self, batch: Batch) -> Batch:
        """The batch on this process's device."""
        return Batch(*(part.to(self.accelerator.device, non_blocking=True) for part in batch))

    def summed(self, numbers: Tensor) -> Tensor:
        """The sum over all processes; every process gets the same bits."""
        return numbers if self.processes == 1 else self.accelerator.reduce(numbers, "sum")


def this_machine(precision: Precision = "auto", threads: int = 1) -> Machine:
    """Join the processes that were started together, or stand alone.

    Args:
        precision: "auto" is bfloat16 on GPUs that compute in it and float32 elsewhere. float16 is not offered: T5 overflows in it.
        threads: CPU threads of this process.

    Raises:
        UsageError: the launcher asks for float16 or for weights that are kept on the host, or bfloat16 on a GPU that lacks it.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", "bf16"):
        raise UsageError(f"the launcher asks for mixed precision {asked}; T5 overflows in float16: launch with bf16, or leave it to --precision")
    sharded = _told("ACCELERATE_USE_FSDP")
    if sharded and _told("FSDP_OFFLOAD_PARAMS"):
        raise UsageError("the launcher asks for FSDP with weights kept on the host, which training does not know; leave out --fsdp_offload_params")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # accelerate would choose, and warn
    # accelerate shards what goes through `forward` of a whole model, on GPUs alone; ours is models/shards.py, and accelerate need not know
    with patch_environment(accelerate_use_fsdp="false"):
        accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    torch.set_num_threads(threads)
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise UsageError(f"the launcher asks for {accelerator.distributed_type.value}; training knows one process, several CPU processes, and DDP")
    dtype = _dtype("bfloat16" if precision == "auto" and asked == "bf16" else precision, accelerator.device)
    return Machine(accelerator, dtype, sharded and accelerator.num_processes > 1)


def device_here() -> torch.device:
    """Where a stage that does not train computes: the GPU of this process, if it has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _told(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1")


def _dtype(precision: Precision, device: torch.device) -> torch.dtype:
    able = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bfloat16" and not able:
        raise UsageError(f"--precision bfloat16 on {torch.cuda.get_device_name(device)}, which does not compute in it; take float32")
    fast = precision == "bfloat16" or (precision == "auto" and device.type == "cuda" and able)
    return torch.bfloat16 if fast else torch.float32
