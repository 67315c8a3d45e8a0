"""`coderl doctor` tells what is there, and why something is not."""

import pytest

from coderl import cli
from coderl.recipes import doctor
from coderl.sandbox import tiers
from coderl.sandbox.forkserver import this_place


def test_the_doctor_names_every_layer_and_the_tier_that_the_judge_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line[0] != " "}
    found = tiers.probe(this_place(), "ABC")
    assert lines["tier"][0] == found.tier
    assert {layer for layer in ("namespaces", "landlock", "seccomp") if lines[layer][0] == "yes"} >= set(tiers.LAYERS[found.tier])
    assert {"python", "torch", "cores", "memory"} <= set(lines)


def test_a_missing_layer_comes_with_its_reason() -> None:
    assert "unknown layers: moon dust" in str(doctor.missing("moon dust", this_place()))


@pytest.mark.parametrize("layer", ["namespaces", "landlock", "seccomp"])
def test_there_is_advice_for_every_layer(layer: str) -> None:
    assert all(doctor.advice(layer))


def test_without_any_tier_the_doctor_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for tier in "ABC":
        monkeypatch.setitem(tiers.LAYERS, tier, ("moon dust",))
    assert cli.main(["doctor"]) == 1
    assert "cannot be isolated on this machine" in capsys.readouterr().err
