"""Run folders: marker, manifest, settings that a complete or an unfinished run is held to, metrics, checkpoints."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from coderl.errors import CoderlError
from coderl.run_directory import RunDirectory, file_hash, manifest


@dataclass(frozen=True)
class SomeConfig:
    out: Path
    seed: int = 3


def test_run_directory_marks_only_finished_runs(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    assert not run.complete
    run.start({"seed": 0})
    run.finish()
    assert run.complete and json.loads((run / "manifest.json").read_text()) == {"seed": 0}
    run.start({"seed": 1})
    assert not run.complete


def test_a_complete_run_is_done_only_for_the_settings_that_it_was_made_with(tmp_path: Path) -> None:
    """A setting that came with a later version, or that moves no result, is no other setting."""

    @dataclass(frozen=True)
    class Settings:
        updates: int
        threads: int = 1
        accumulate: int = 1
        part: SomeConfig = SomeConfig(Path("a"))

    run = RunDirectory(tmp_path / "run")
    assert not run.is_done(Settings(200))
    run.start(manifest(Settings(200)))
    assert not run.is_done(Settings(800))  # unfinished: `start` is who refuses
    run.finish()
    assert run.is_done(Settings(200)) and run.is_done(Settings(200, threads=2)) and run.is_done(Settings(200, accumulate=4))
    assert run.is_done(Settings(200, part=SomeConfig(Path("a").resolve())))  # the same place
    for other, text in ((Settings(800), "updates was 200, now it is 800"), (Settings(200, part=SomeConfig(Path("a"), 4)), "seed was 3, now it is 4")):
        with pytest.raises(CoderlError, match=f"holds a complete run whose {text}; choose another --out"):
            run.is_done(other)
    path = run / "manifest.json"
    older = json.loads(path.read_text())
    del older["config"]["updates"]
    path.write_text(json.dumps(older))
    assert run.is_done(Settings(800))


def test_metrics_drop_a_torn_line(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.log(step=1, loss=0.5)
    run.log(step=2, loss=0.25)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "lo')
    assert run.metrics() == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_manifest_tells_config_seed_versions_and_input_hashes(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"abc")
    facts = manifest(SomeConfig(tmp_path / "out"), inputs=[tmp_path / "in", tmp_path / "absent"])
    assert facts["config"] == {"out": str(tmp_path / "out"), "seed": 3}
    # SHA-256 of "abc" (FIPS 180-2, appendix B.1)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert facts["inputs"] == {str(tmp_path / "in"): digest} and file_hash(tmp_path / "in") == digest
    assert facts["versions"]["torch"] and "command" in facts and "commit" in facts
    json.dumps(facts)


def test_an_unfinished_run_is_not_continued_with_other_settings(tmp_path):
    from coderl.run_directory import RunDirectory

    run = RunDirectory(tmp_path)
    run.start({"config": {"learning_rate": 0.1, "threads": 1}, "inputs": {"a": "1"}})
    run.start({"config": {"learning_rate": 0.2, "threads": 1}, "inputs": {"a": "1"}})  # no checkpoint yet: nothing to mix up
    run.write_checkpoint(5, lambda folder: None)
    run.start({"config": {"learning_rate": 0.2, "threads": 2}, "inputs": {"a": "1"}})
    with pytest.raises(CoderlError, match=r"learning_rate was 0\.2, now it is 0\.3"):
        run.start({"config": {"learning_rate": 0.3, "threads": 2}, "inputs": {"a": "1"}})
    with pytest.raises(CoderlError, match="whose a was 1, now it is 2"):
        run.start({"config": {"learning_rate": 0.2, "threads": 2}, "inputs": {"a": "2"}})


def test_the_newest_checkpoint_that_is_whole_counts(tmp_path):
    from coderl.run_directory import RunDirectory

    run = RunDirectory(tmp_path)
    assert run.newest_checkpoint() is None
    run.write_checkpoint(5, lambda folder: (folder / "state").write_text("5"))

    class Killed(BaseException):
        pass

    def torn(folder):
        (folder / "state").write_text("half")
        raise Killed

    with pytest.raises(Killed):
        run.write_checkpoint(10, torn)
    assert run.newest_checkpoint() == tmp_path / "checkpoint-000005" and (tmp_path / "checkpoint-000010").exists()
    run.write_checkpoint(10, lambda folder: (folder / "state").write_text("10"))  # over what was left of the torn one
    assert run.newest_checkpoint() == tmp_path / "checkpoint-000010"
    assert not (tmp_path / "checkpoint-000005").exists()
    run.write_checkpoint(1_000_000, lambda folder: None)
    assert run.newest_checkpoint() == tmp_path / "checkpoint-1000000"
    run.remove_checkpoints()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    from coderl.run_directory import RunDirectory

    run = RunDirectory(tmp_path)
    run.write_checkpoint(1, lambda folder: None)

    def full(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(CoderlError, match="checkpoint-000002: cannot be written \\(No space left"):
        run.write_checkpoint(2, full)
    assert run.newest_checkpoint() == tmp_path / "checkpoint-000001"
