"""Models by their name on the hub: from the local cache, in the shape of CodeT5's folders, without a network."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from coderl.cli import main
from coderl.errors import ModelError
from coderl.models import hub
from coderl.models.actor import load_actor, small_t5
from coderl.models.hub import local_folder
from coderl.prompts import template_of
from coderl.tokens import encode_program, load_tokenizer


def codet5_folder(data: Path, folder: Path) -> Path:
    """A folder of the shape of Salesforce/codet5-*: config, pickled weights, bare vocabulary files; a tiny model of 32,100 rows."""
    folder.mkdir(parents=True)
    model = small_t5(32100, seed=0, width=8, layers=1, heads=2, feed_forward=8)
    config = model.config.to_dict() | {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    source = data / "codet5_tokenizer" / "salesforce"
    shutil.copyfile(source / "codet5-vocab.json", folder / "vocab.json")
    shutil.copyfile(source / "codet5-merges.txt", folder / "merges.txt")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}')
    return folder


@pytest.fixture
def cache(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds Salesforce/codet5-small; whoever asks the network fails the test."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--Salesforce--codet5-small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return codet5_folder(data_dir, repository / "snapshots" / ("0" * 40))


def test_a_name_is_the_cached_folder_and_loads_as_an_actor(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", _from(cache))
    assert local_folder("Salesforce/codet5-small") == cache
    actor = load_actor("Salesforce/codet5-small")
    assert actor.model.config.vocab_size == 32100 and len(actor.tokenizer) == 32100
    ids, _ = encode_program(load_tokenizer(Path("Salesforce/codet5-small")), "x\t= 1\n", 20)
    assert (ids[0], ids[-1]) == (1, 2)


def _from(folder: Path):
    def download(name: str, **options: object) -> str:
        assert name == "Salesforce/codet5-small" and options == {"local_files_only": True}
        return str(folder)

    return download


def test_the_hubs_own_cache_is_looked_up(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    assert Path(snapshot_download("Salesforce/codet5-small", local_files_only=True, cache_dir=tmp_path)) == cache


def test_what_is_neither_here_nor_on_the_hub_is_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def fails(name: str, **options: object) -> str:
        raise OSError("no network here\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(ModelError, match=r"Salesforce/nonesuch is no folder here.*\(no network here\).*hf download Salesforce/nonesuch"):
        load_actor("Salesforce/nonesuch")


@pytest.mark.parametrize("path", ["runs/warm", "./a/b", "/a/b", "a", "a/b/c"])
def test_a_path_is_never_asked_of_the_hub(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is absent, where its folder is here (runs/warm): a typing mistake is not a download."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    assert local_folder(path) == Path(path)


def test_safetensors_are_taken_before_pickled_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def download(name: str, **options: object) -> str:
        if options.get("local_files_only"):
            raise OSError("not cached")
        asked.append(options["allow_patterns"])
        if len(asked) == 2:
            (tmp_path / "pytorch_model.bin").touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert hub.local_folder("Owner/model") == tmp_path
    assert "*.safetensors" in asked[0] and "pytorch_model*.bin" not in asked[0] and "pytorch_model*.bin" in asked[1]  # type: ignore[operator]


def test_an_adopted_codet5_keeps_its_form_and_the_template(data_dir: Path, tmp_path: Path) -> None:
    source = codet5_folder(data_dir, tmp_path / "hub")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    assert main(["adopt", "--model", str(source), "--out", str(tmp_path / "ours"), "--template", "training"]) == 0
    actor = load_actor(tmp_path / "ours")
    assert template_of(actor.tokenizer) == "training" and encode_program(actor.tokenizer, "", 5)[0] == (1, 2)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_a_codet5_is_no_chat_model(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = codet5_folder(data_dir, tmp_path / "hub")
    assert main(["adopt", "--model", str(source), "--out", str(tmp_path / "ours"), "--prompt", "chat"]) == 1
    assert "only decoder-only models are asked as chat models" in capsys.readouterr().err and not (tmp_path / "ours").exists()
