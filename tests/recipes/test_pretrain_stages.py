"""From folders of code to a pretrained model, on files: what each stage leaves, what is refused, and that a killed run repeats itself."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from coderl import fitting
from coderl.cli import main
from coderl.corpus.documents import Document
from coderl.corpus.token_file import read_tokens
from coderl.models.actor import load_actor
from coderl.pretraining import Dealt, next_samples
from coderl.records import Problem
from coderl.run_directory import RunDirectory
from coderl.store import read_records
from coderl.tokens import Example, load_tokenizer, sentinel_ids
from decoder_only import FAMILIES

SMALL = "--batch 4 --evaluate-every 4 --held-out 0.2 --checkpoint-every 3 --optimiser muon --learning-rate 3e-3 --seed 1"
SPANS, NEXT = f"--block-tokens 32 {SMALL}", f"--max-source-tokens 24 --max-target-tokens 24 {SMALL}"


def run(words: str) -> None:
    assert main(words.split()) == 0, words


def source(number: int) -> str:
    body = "\n".join(f"    total_{i} = first_{number} * {i} + second" for i in range(number % 5 + 2))
    return f"def function_{number}(first_{number}, second):\n{body}\n    return total_{number % 2}\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole chain, run once."""
    root = tmp_path_factory.mktemp("pretraining")
    (root / "code" / "inner").mkdir(parents=True)
    for number in range(40):
        (root / "code" / "inner" / f"m{number:02}.py").write_text(source(number))
    (root / "code" / "copy.py").write_text(source(3))
    (root / "code" / "key.py").write_text("TOKEN = 'ghp_" + "a1B2" * 9 + "'\nprint(TOKEN)\n")
    (root / "code" / "short.py").write_text("x\n")
    (root / "rows.jsonl").write_text(
        json.dumps({"code": source(90), "license": "mit"}) + "\n" + json.dumps({"code": source(91), "license": "gpl"}) + "\n"
    )
    run(f"corpus collect --sources {root}/code {root}/rows.jsonl --licences unknown mit --near 0 --out {root}/corpus")
    run(f"corpus tokenizer --corpus {root}/corpus/documents.jsonl --vocabulary 320 --sentinels 20 --out {root}/tokenizer")
    run(f"corpus encode --corpus {root}/corpus/documents.jsonl --tokenizer {root}/tokenizer --out {root}/tokens")
    run(f"new-model --tokenizer {root}/tokenizer --width 16 --layers 1 --heads 2 --feed-forward 32 --dropout 0.1 --out {root}/new")
    run(f"pretrain spans --model {root}/new/actor --tokens {root}/tokens {SPANS} --updates 12 --out {root}/spans")
    run(f"pretrain next --model {root}/spans/actor --tokens {root}/tokens {NEXT} --epochs 1 --out {root}/next")
    return root


def test_what_is_collected_and_what_is_left_out(root: Path) -> None:
    documents = read_records(root / "corpus" / "documents.jsonl", Document)
    counts = json.loads((root / "corpus" / "counts.json").read_text())
    # copy.py comes first of the folder, so inner/m03.py is the duplicate
    assert counts == {
        "read": 45,
        "kept": 41,
        "characters": sum(len(one.text) for one in documents),
        "left_out": {"secret": 1, "short": 1, "duplicate": 1, "licence": 1},
    }
    assert documents[0].id == "0:copy.py" and documents[-1].id == "43:rows.jsonl:1" and documents[-1].licence == "mit"
    assert {one.text for one in documents} == {source(n) for n in (*range(40), 90)}


def test_a_killed_collection_goes_on_and_gives_the_same(root: Path, tmp_path: Path) -> None:
    whole = (root / "corpus" / "documents.jsonl").read_bytes()
    for size in (len(whole), len(whole) // 2, 40):
        run(f"corpus collect --sources {root}/code {root}/rows.jsonl --licences unknown mit --near 0 --out {tmp_path}/torn")
        (tmp_path / "torn" / "COMPLETE").unlink()
        (tmp_path / "torn" / "documents.jsonl").write_bytes(whole[:size])
        run(f"corpus collect --sources {root}/code {root}/rows.jsonl --licences unknown mit --near 0 --out {tmp_path}/torn")
        assert (tmp_path / "torn" / "documents.jsonl").read_bytes() == whole
        assert (tmp_path / "torn" / "counts.json").read_bytes() == (root / "corpus" / "counts.json").read_bytes()


def test_the_tokenizer_has_its_entries_and_sentinels_and_the_tokens_are_the_corpus(root: Path) -> None:
    tokenizer, tokens = load_tokenizer(root / "tokenizer"), read_tokens(root / "tokens")
    assert len(tokenizer) == 340 and sentinel_ids(tokenizer) == tuple(range(339, 319, -1))
    first = read_records(root / "corpus" / "documents.jsonl", Document)[0]
    ids, _ = tokens.part(0, int(tokens.ends[0]))
    assert tokenizer.decode(ids, skip_special_tokens=True) == first.text
    assert load_actor(root / "new" / "actor").model.config.vocab_size == 340


@pytest.mark.parametrize("stage", ["spans", "next"])
def test_the_held_out_loss_falls_and_the_model_loads(stage: str, root: Path) -> None:
    losses = [line["held_out_loss"] for line in RunDirectory(root / stage).metrics() if "held_out_loss" in line]
    assert losses[-1] < losses[0] < math.log(340) + 1
    assert len(load_actor(root / stage / "actor").tokenizer) == 340
    assert not list((root / stage).glob("checkpoint-*")) and (root / stage / "COMPLETE").exists()


def test_passes_become_updates(root: Path) -> None:
    """One pass over the pieces that are not held out, four in a batch."""
    total = next_samples(read_tokens(root / "tokens"), 24, 24, 2).total
    last = [line for line in RunDirectory(root / "next").metrics() if "held_out_loss" in line][-1]
    assert last["step"] == math.ceil((total - int(total * 0.2 + 0.5)) / 4)


@pytest.mark.parametrize("stage, settings", [("spans", SPANS), ("next", NEXT)])
def test_a_killed_run_repeats_an_uninterrupted_one_to_the_last_bit(
    stage: str, settings: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"pretrain {stage} --model {root}/new/actor --tokens {root}/tokens {settings} --updates 8"
    run(f"{command} --out {tmp_path}/whole")
    update = fitting._Loop.update
    made: list[int] = []

    def dies(loop: fitting._Loop, group: Sequence[list[Example]]) -> dict[str, float]:
        if loop.at.updates == 7:
            raise KeyboardInterrupt
        return update(loop, group)

    def watched(pieces: Dealt, n: int) -> Iterator[list[Example]]:
        made.append(n)
        yield pieces.number(n)

    with monkeypatch.context() as patch:
        patch.setattr(fitting._Loop, "update", dies)
        assert main(f"{command} --out {tmp_path}/torn".split()) == 130
    monkeypatch.setattr(Dealt, "alone", watched)
    run(f"{command} --out {tmp_path}/torn")
    assert made[:2] == [6, 7]  # behind the checkpoint of update 6, and none of the batches before it is made
    whole, torn = (load_actor(tmp_path / name / "actor").model.state_dict() for name in ("whole", "torn"))
    assert all(torch.equal(whole[name], torn[name]) for name in whole)
    assert not torch.equal(whole["shared.weight"], load_actor(root / "new" / "actor").model.state_dict()["shared.weight"])


def refused(words: str, capfd: pytest.CaptureFixture[str], code: int = 1) -> str:
    capfd.readouterr()
    assert main(words.split()) == code
    return capfd.readouterr().err.splitlines()[-1]


def test_what_does_not_fit_together_is_refused(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = f"--out {tmp_path}/out"
    told = refused(f"corpus collect --sources {root}/code {out}", capfd)
    assert "no document is left of 43" in told and "add `unknown` to --licences" in told
    run(f"corpus tokenizer --corpus {root}/corpus/documents.jsonl --vocabulary 300 --out {tmp_path}/other")
    run(f"new-model --tokenizer {tmp_path}/other --width 16 --layers 1 --out {tmp_path}/model")
    told = refused(f"pretrain spans --model {tmp_path}/model/actor --tokens {root}/tokens {out}2", capfd)
    assert "was written with another tokenizer than that of" in told and "run `coderl corpus encode`" in told
    told = refused(f"pretrain spans --model {root}/new/actor --tokens {root}/corpus {out}2", capfd)
    assert "holds no finished tokens" in told
    told = refused(f"pretrain spans --model {root}/new/actor --tokens {root}/tokens --block-tokens 99999 {out}2", capfd)
    assert "the corpus is shorter than one example" in told
    assert "nothing to learn from" in refused(f"corpus tokenizer {out}3", capfd, 2)
    assert "--width is 15; it must be a multiple of --heads (4)" in refused(f"new-model --tokenizer {root}/tokenizer --width 15 {out}4", capfd, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_spans_need_an_encoder_and_sentinels_and_next_tokens_do_not(
    family: Callable[[Path, list[Problem]], Path], root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    problem = Problem("t/0", "Add.", "stdin", (), (), tuple(source(n) for n in range(9)))
    model = family(tmp_path / "model", [problem])
    run(f"corpus encode --corpus {root}/corpus/documents.jsonl --tokenizer {model} --out {tmp_path}/tokens")
    told = refused(f"pretrain spans --model {model} --tokens {tmp_path}/tokens --out {tmp_path}/out", capfd)
    assert "masked span prediction needs an encoder-decoder of type 't5'" in told
    run(f"pretrain next --model {model} --tokens {tmp_path}/tokens {NEXT} --updates 1 --out {tmp_path}/next")
    load_tokenizer(model).save_pretrained(str(tmp_path / "plain"))
    run(f"new-model --tokenizer {tmp_path}/plain --width 16 --layers 1 --out {tmp_path}/t5")
    told = refused(f"pretrain spans --model {tmp_path}/t5/actor --tokens {tmp_path}/tokens --out {tmp_path}/out", capfd)
    assert "the tokenizer has no <extra_id_0>" in told
