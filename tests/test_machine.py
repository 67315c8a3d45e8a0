"""Where training computes: precision on this machine, and launchers' wishes that are refused with a sentence."""

import pytest
import torch

from coderl.errors import UsageError
from coderl.machine import this_machine
from coderl.tokens import Example, collate


def test_alone_on_a_cpu_everything_is_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    machine = this_machine()
    assert (machine.lead, machine.processes, machine.rank, machine.dtype) == (True, 1, 0, torch.float32)
    assert this_machine("bfloat16").dtype == torch.bfloat16
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert this_machine().dtype == torch.bfloat16 and this_machine("float32").dtype == torch.float32


def test_threads_are_set():
    this_machine(threads=2)
    assert torch.get_num_threads() == 2
    this_machine(threads=1)
    assert torch.get_num_threads() == 1


def test_a_batch_keeps_its_numbers_on_its_way_to_the_device():
    batch = collate([Example("a", (5, 6), (7, 2), (0.5, -1.0))], 0)
    assert all(torch.equal(a, b) for a, b in zip(this_machine().here(batch), batch))


def test_float16_and_weights_on_the_host_are_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UsageError, match="T5 overflows in float16"):
        this_machine()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    with pytest.raises(UsageError, match="fsdp_offload_params"):
        this_machine()


def test_one_process_has_nothing_to_shard(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert not this_machine().sharded
