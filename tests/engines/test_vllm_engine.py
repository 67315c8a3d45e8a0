"""The vLLM adapter against a recorded interface: a small module of the classes as vLLM documents them, with a model that counts."""

import json
import math
import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest

from coderl.engines import vllm_engine as engine
from coderl.engines.requests import Decoding, Request
from coderl.errors import ModelError, UsageError

END = 2


@dataclass
class SamplingParams:
    """The fields of `vllm.SamplingParams` that the adapter sets, with vLLM's defaults and checks; another field is a TypeError."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    logprobs: int | None = None
    detokenize: bool = True

    def __post_init__(self):
        if self.n > 1 and self.temperature == 0:
            raise ValueError("n must be 1 when using greedy sampling")
        if not 0 < self.top_p <= 1 or self.max_tokens < 1 or not -(2**63) <= (self.seed or 0) < 2**63:
            raise ValueError("out of range")


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True


@dataclass
class LLM:
    """Counts on from the prompt's last token up to 9, then writes the end. As vLLM's scheduler: the end is among `token_ids`, length is
    looked at before the end, logprobs hold the chosen token and a likelier one."""

    model: str
    logprobs_mode: str = "raw_logprobs"
    enable_prefix_caching: bool | None = None
    generation_config: str = "auto"
    calls: list[tuple[list[dict], list[SamplingParams]]] = field(default_factory=list)

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
        self.calls.append((prompts, sampling_params))
        return [
            RequestOutput(str(i), p["prompt_token_ids"], [self.one(p["prompt_token_ids"], s)])
            for i, (p, s) in enumerate(zip(prompts, sampling_params, strict=True))
        ]

    def one(self, prompt, parameters):
        ids, reason = [], None
        while reason is None:
            last = [*prompt, *ids][-1]
            ids.append(last + 1 if last < 9 else END)
            if len(ids) >= parameters.max_tokens:
                reason = "length"
            elif ids[-1] in parameters.stop_token_ids:
                reason = "stop"
        scores = [{i: Logprob(-0.1 * i, 2), 77: Logprob(-0.01, 1)} for i in ids]
        return CompletionOutput(0, "", ids, None, scores, reason)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    fake = ModuleType("vllm")
    fake.LLM, fake.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", fake)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 100, "eos_token_id": END}))
    return tmp_path


def test_programs_end_with_the_end_or_are_cut(folder):
    model = engine.load(folder)
    requests = [Request(name, (5, first), (0,), Decoding(0.6, 0.95, 3)) for name, first in (("stops", 8), ("ends at the limit", 7), ("cut", 4))]
    got = {g.key: g for g in engine.generate(model, requests, seed=0)}
    assert (got["stops"].ids, got["stops"].cut) == ((9, END), False)
    assert (got["ends at the limit"].ids, got["ends at the limit"].cut) == ((8, 9, END), False)
    assert (got["cut"].ids, got["cut"].cut) == ((5, 6, 7), True)
    assert got["cut"].logprobs == pytest.approx((-0.5, -0.6, -0.7))


def test_a_prefix_goes_behind_the_prompt_and_counts_in_the_length(folder):
    model = engine.load(folder)
    (got,) = engine.generate(model, [Request("a", (50,), (0,), Decoding(0.6, 0.95, 4), prefix=(3, 4))], seed=0)
    assert got.ids == (3, 4, 5, 6) and got.prefix == 2 and len(got.logprobs) == len(got.sampling_logprobs) == 2 and got.cut
    prompts, parameters = model.llm.calls[0]
    assert prompts == [{"prompt_token_ids": [50, 3, 4]}] and parameters[0].max_tokens == 2


def test_every_sample_has_its_own_seed_whatever_the_batch(folder):
    model = engine.load(folder)
    requests = [Request(k, (5,), (0, 1, 2), Decoding(0.6, 0.9, 5)) for k in "ab"]

    def seeds(requests, seed, rows):
        model.llm.calls.clear()
        names = [(g.key, g.sample) for g in engine.generate(model, requests, seed, rows)]
        return dict(zip(names, [p.seed for _, parameters in model.llm.calls for p in parameters], strict=True))

    one = seeds(requests, 1, 512)
    assert len(set(one.values())) == 6
    assert seeds(requests[::-1], 1, 2) == one and [len(p) for p, _ in model.llm.calls] == [2, 2, 2]
    assert not set(seeds(requests, 2, 512).values()) & set(one.values())


def test_log_probabilities_of_the_sampling_distribution_are_told_only_where_they_are_known(folder):
    model = engine.load(folder)
    for decoding, known in ((Decoding(0, 0.9, 5), (0.0, 0.0)), (Decoding(1, 1, 5), (-0.9, -0.2)), (Decoding(0.6, 0.95, 5), None)):
        (got,) = engine.generate(model, [Request("a", (8,), (0,), decoding)], seed=0)
        assert got.logprobs == pytest.approx((-0.9, -0.2))
        assert all(map(math.isnan, got.sampling_logprobs)) if known is None else got.sampling_logprobs == pytest.approx(known)


def test_the_model_is_loaded_for_scores_of_the_model_itself(folder):
    llm = engine.load(folder).llm
    assert (llm.model, llm.logprobs_mode, llm.enable_prefix_caching, llm.generation_config) == (str(folder), "raw_logprobs", True, "vllm")


def test_errors_say_what_to_do(folder, monkeypatch):
    with pytest.raises(UsageError, match=r"temperature is 0.001; vLLM silently raises it to 0.01"):
        list(engine.generate(engine.load(folder), [Request("a", (5,), (0,), Decoding(0.001, 1, 5))], 0))
    with pytest.raises(UsageError, match="ids must be from 0 to 99"):
        list(engine.generate(engine.load(folder), [Request("a", (100,), (0,))], 0))
    (folder / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 100}')
    with pytest.raises(ModelError, match="has no eos_token_id"):
        engine.load(folder)
    (folder / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    with pytest.raises(UsageError, match=r"encoder-decoder \(t5\); engine vllm takes decoder-only models"):
        engine.load(folder)
    monkeypatch.setitem(sys.modules, "vllm", None)
    (folder / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 100, "eos_token_id": 2}')
    with pytest.raises(UsageError, match=r"pip install 'coderl\[vllm\]'"):
        engine.load(folder)
