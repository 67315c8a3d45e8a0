"""Two processes on loopback that know of each other, as a launcher starts them."""

import multiprocessing
import os
import socket

import torch


def run_two(target, *arguments, sharded=False, timeout=120):
    """Run a function of an importable module in both; their exit codes. Children are killed after `timeout` seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["coderl.fitting", "coderl.models.actor"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [context.Process(target=_process, args=(rank, port, sharded, target, arguments)) for rank in (0, 1)]
    for one in pair:
        one.start()
    for one in pair:
        one.join(timeout)
    hung = [one for one in pair if one.is_alive()]
    for one in hung:
        one.kill()
        one.join()
    assert not hung, f"{len(hung)} of two processes were still running after {timeout} s"
    return [one.exitcode for one in pair]


def _process(rank, port, sharded, target, arguments):
    """What a launcher puts into the environment, and the work."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["ACCELERATE_USE_FSDP"] = str(sharded).lower()
    target(*arguments)
    torch.distributed.destroy_process_group()
