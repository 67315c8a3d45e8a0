"""Which engine is taken, and why: the rule of `auto`, what is refused, and that each name leads to its engine."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from coderl.engines.choose import ENGINES, choose, foreign
from coderl.engines.requests import Decoding, Request
from coderl.engines.torch_engine import generate
from coderl.errors import UsageError
from coderl.models.actor import small_t5


@pytest.fixture
def pair(tmp_path):
    small_t5(64, 0, width=32).save_pretrained(str(tmp_path))
    return tmp_path


@pytest.fixture
def causal(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 100, "eos_token_id": 2}))
    return tmp_path


def with_vllm(monkeypatch):
    fake = ModuleType("vllm")
    fake.__spec__ = ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", fake)


@pytest.mark.parametrize("gpu", [False, True])
def test_auto_takes_torch_for_an_encoder_decoder(pair, gpu):
    choice = choose("auto", pair, gpu)
    assert choice.engine == "torch" and choice.exact and "CTranslate2" in choice.why


def test_auto_takes_vllm_for_a_decoder_only_model_where_there_is_a_gpu_and_the_package(causal, monkeypatch):
    with_vllm(monkeypatch)
    assert choose("auto", causal, gpu=True).engine == "vllm"
    assert not choose("auto", causal, gpu=True).exact
    assert choose("auto", causal, gpu=False).engine == "torch"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose("auto", causal, gpu=True).engine == "torch" and "pip install" in choose("auto", causal, gpu=True).why


def test_what_is_asked_for_is_taken(pair):
    assert [choose(name, pair, False).engine for name in ENGINES if name not in ("auto", "vllm")] == ["torch", "ctranslate2", "ctranslate2-int8"]
    assert [choose(name, pair, False).exact for name in ("torch", "ctranslate2")] == [True, False]


def test_what_cannot_be_had_is_refused_in_one_sentence(pair, monkeypatch):
    with pytest.raises(UsageError, match=r"--engine is 'fast'; it must be one of auto, torch, ctranslate2, ctranslate2-int8, vllm"):
        choose("fast", pair, False)
    with pytest.raises(UsageError, match=r"--engine vllm takes decoder-only models; .* holds an encoder-decoder \(t5\)"):
        choose("vllm", pair, True)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UsageError, match=r"pip install 'coderl\[ctranslate2\]'"):
        choose("ctranslate2", pair, False)


def test_what_is_not_for_decoder_only_models_or_not_installed_is_refused(causal, monkeypatch):
    with pytest.raises(UsageError, match=r"--engine ctranslate2-int8 takes models of type 't5'; .* holds 'gpt2'"):
        choose("ctranslate2-int8", causal, False)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UsageError, match=r"pip install 'coderl\[vllm\]'"):
        choose("vllm", causal, True)


def test_each_name_leads_to_its_engine(pair):
    """float32 writes what torch writes, greedily; int8 was converted beside it."""
    requests = [Request(str(i), (5 + i, 9, 30), (0,), Decoding(0, 1, 8)) for i in range(4)]
    torch_programs = sorted((g.key, g.ids) for g in generate(small_t5(64, 0, width=32).eval(), requests, 0, 4))
    assert sorted((g.key, g.ids) for g in foreign("ctranslate2", pair)(requests, 0, 4)) == torch_programs
    assert len(list(foreign("ctranslate2-int8", pair)(requests, 0, 4))) == 4
    assert {p.name.rpartition("-")[0] for p in pair.iterdir() if p.is_dir()} == {"ctranslate2-float32", "ctranslate2-int8"}
