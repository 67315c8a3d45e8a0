"""The CTranslate2 engine: greedy equals Hugging Face, sampling equals the exact distribution, scores are those of the logits drawn from."""

import itertools
import math
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare

from coderl.engines import ctranslate2_engine as engine
from coderl.engines.requests import Decoding, Request
from coderl.errors import ModelError, UsageError
from coderl.models.actor import small_t5

GREEDY = Decoding(temperature=0, max_tokens=24)


def saved(folder, vocabulary=64, seed=0, width=32):
    """A model with a sharpened output, so that greedy programs vary and end now and then, and its folder."""
    model = small_t5(vocabulary, seed, width=width, heads=4, feed_forward=64).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
        model.decoder.final_layer_norm.weight.mul_(4.0)
        model.shared.weight[2] *= 3.0  # </s> wins now and then
    model.save_pretrained(str(folder))
    return model


@pytest.fixture(scope="module")
def place():
    with tempfile.TemporaryDirectory() as name:
        yield saved(name), Path(name)


def prompts(count, vocabulary=64):
    draw = random.Random(1)
    return [tuple(draw.randrange(5, vocabulary) for _ in range(draw.randrange(3, 30))) for _ in range(count)]


def theirs(model, prompt, prefix=()):
    start = torch.tensor([[0, *prefix]])
    rest = GREEDY.max_tokens - len(prefix)
    return model.generate(input_ids=torch.tensor([prompt]), decoder_input_ids=start, max_new_tokens=rest, do_sample=False)[0, 1:].tolist()


def test_greedy_equals_hugging_face_with_and_without_a_prefix(place):
    model, folder = place
    requests = [Request(str(i), p, (0,), GREEDY, prefix=(9, 17, 30)[: i % 4]) for i, p in enumerate(prompts(50))]
    ours = {g.key: g for g in engine.generate(engine.converted(folder, "float32"), requests, seed=0, rows=16)}
    assert len(ours) == 50
    for request in requests:
        got = ours[request.key]
        assert list(got.ids) == theirs(model, request.prompt, request.prefix)
        assert got.prefix == len(request.prefix) and got.cut == (got.ids[-1] != 2)
    assert {g.cut for g in ours.values()} == {True, False}


def test_int8_is_close(tmp_path):
    small_t5(64, 0, width=32).save_pretrained(str(tmp_path))
    requests = [Request(str(i), p, (0,), GREEDY) for i, p in enumerate(prompts(60))]
    whole, small = ({g.key: g for g in engine.generate(engine.converted(tmp_path, kind), requests, 0)} for kind in engine.COMPUTE_TYPES)
    assert sum(whole[key].ids == small[key].ids for key in whole) >= 45
    apart = [abs(whole[key].logprobs[0] - small[key].logprobs[0]) for key in whole]
    assert 1e-3 < sum(apart) / 60 < 0.2  # 0 would mean that nothing is in 8 bits


@torch.no_grad()
def exact_scores(model, request, ids):
    """Both log-probabilities by one full forward pass and a plain loop over the sorted vocabulary."""
    logits = model(input_ids=torch.tensor([request.prompt]), decoder_input_ids=torch.tensor([[0, *ids[:-1]]])).logits[0]
    plain, drawn = [], []
    for row, token in list(zip(logits, ids))[len(request.prefix) :]:
        plain.append(float(row.log_softmax(-1)[token]))
        warm = (row / request.decoding.temperature).softmax(-1)
        mass = 0.0
        for p in sorted(warm.tolist(), reverse=True):
            if mass >= request.decoding.top_p:
                break
            mass += p
        drawn.append(float((warm[token] / mass).log()))
    return plain, drawn


@torch.no_grad()
def inside_the_nucleus(model, request, ids):
    logits = model(input_ids=torch.tensor([request.prompt]), decoder_input_ids=torch.tensor([[0, *ids[:-1]]])).logits[0]
    warm = (logits / request.decoding.temperature).softmax(-1)
    return all(float(row[row > row[token]].sum()) < request.decoding.top_p for row, token in zip(warm, ids))


def test_scores_are_those_of_full_forward_passes(place):
    model, folder = place
    for top_p in (0.6, 0.95, 1.0):
        requests = [Request(str(i), p, (0, 1, 2), Decoding(0.8, top_p, 12), prefix=(5, 9)[: i % 3]) for i, p in enumerate(prompts(6))]
        for got in engine.generate(engine.converted(folder, "float32"), requests, seed=3):
            plain, drawn = exact_scores(model, requests[int(got.key)], got.ids)
            assert got.logprobs == pytest.approx(plain, abs=2e-4)
            assert got.sampling_logprobs == pytest.approx(drawn, abs=2e-3)


def test_the_sampled_distribution_is_the_exact_one(tmp_path):
    model = small_t5(6, 3, width=16, heads=2, feed_forward=32).eval()
    with torch.no_grad():
        model.decoder.final_layer_norm.weight.mul_(2.0)
    model.save_pretrained(str(tmp_path))
    draws = 4000
    request = Request("a", (3, 4, 5), tuple(range(draws)), Decoding(temperature=0.9, top_p=0.95, max_tokens=2))
    counts = Counter(g.ids for g in engine.generate(engine.converted(tmp_path, "float32"), [request], seed=0, rows=500))
    programs = [(2,), *((a, b) for a, b in itertools.product(range(6), range(6)) if a != 2)]
    nucleus = {ids: sum(exact_scores(model, request, ids)[1]) for ids in programs if inside_the_nucleus(model, request, ids)}
    expected = {ids: draws * math.exp(score) for ids, score in nucleus.items()}
    assert sum(expected.values()) == pytest.approx(draws, rel=1e-3) and set(counts) <= set(expected)
    often = [ids for ids in expected if expected[ids] >= 5]
    total = sum(counts[ids] for ids in often)
    scale = total / sum(expected[ids] for ids in often)
    assert 5 <= len(often) < 20 and total > 0.98 * draws
    assert chisquare([counts[ids] for ids in often], [scale * expected[ids] for ids in often]).pvalue > 1e-3


def test_an_index_does_not_tell_how_likely_a_program_is(place):
    """CTranslate2 gives the samples of a prompt sorted by probability: without mixing, sample 0 would nearly always be the likeliest.

    At T = 2 few samples of a prompt are equal: 7 to 15 of 40 by chance, 31 to 37 without mixing. At T = 1 half of them are copies and share
    the first place, which makes 20 of 40 by chance.
    """
    requests = [Request(str(i), p, tuple(range(8)), Decoding(2.0, 1.0, 8)) for i, p in enumerate(prompts(40))]
    total = {}
    for got in engine.generate(engine.converted(place[1], "float32"), requests, seed=0):
        total[got.key, got.sample] = sum(got.sampling_logprobs)
    first = sum(total[r.key, 0] == max(total[r.key, i] for i in range(8)) for r in requests)
    assert first < 20


def test_a_seed_gives_the_same_programs_again_and_another_seed_others(place):
    model = engine.converted(place[1], "float32")
    requests = [Request(str(i), p, tuple(range(1 + i % 3)), Decoding(1.0, 1.0, 12)) for i, p in enumerate(prompts(10))]

    def run(seed):
        return sorted((g.key, g.sample, g.ids) for g in engine.generate(model, requests, seed, rows=4))

    one = run(1)
    assert one == run(1) != run(2)
    assert [(k, s) for k, s, _ in one] == sorted((r.key, i) for r in requests for i in r.indices)


def test_ids_that_no_tokenizer_has_are_kept(tmp_path):
    """The last row of the model wins at every step, as one of CodeT5's rows 32,000 to 32,099 might."""
    model = saved(tmp_path, vocabulary=40)
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(torch.zeros(40, 32))
        model.decoder.final_layer_norm.weight.zero_()
        model.lm_head.weight[39] = 0.0
    model.config.tie_word_embeddings = False
    model.save_pretrained(str(tmp_path))
    request = Request("a", (39, 38), tuple(range(50)), Decoding(1.0, 1.0, 30))
    seen = {i for g in engine.generate(engine.converted(tmp_path, "float32"), [request], 0) for i in g.ids}
    assert seen == set(range(40))  # all logits are 0: every id is drawn


def test_a_conversion_is_kept_until_the_weights_change(tmp_path):
    model = saved(tmp_path)
    before = engine.converted(tmp_path, "float32")
    written = (before.directory / "model.bin").stat().st_mtime_ns
    assert engine.converted(tmp_path, "float32") == before and (before.directory / "model.bin").stat().st_mtime_ns == written
    with torch.no_grad():
        model.shared.weight[7] += 1
    model.save_pretrained(str(tmp_path))
    after = engine.converted(tmp_path, "float32")
    assert after.directory != before.directory and not before.directory.exists()
    assert [p.name for p in tmp_path.iterdir() if "ctranslate2" in p.name] == [after.directory.name]


def test_batches_hold_all_samples_within_the_limits():
    requests = [Request(str(i), (5,) * (1 + i % 7), tuple(range(1 + i % 4)), Decoding(0.6, 0.9, 20 + 10 * (i % 2))) for i in range(50)]
    made = engine.batches([*requests, Request("long", (5,), tuple(range(100)))], vocabulary=32100, rows=12)
    pairs = [(r.key, i) for batch in made for r in batch for i in r.indices]
    assert sorted(pairs) == sorted([(r.key, i) for r in requests for i in r.indices] + [("long", i) for i in range(100)])
    for batch in made:
        assert sum(len(r.indices) for r in batch) <= 12
        assert len({(r.decoding, len(r.indices)) for r in batch}) == 1
    assert all(sum(len(r.indices) for r in b) * 32100 * 128 * 4 <= 2**30 for b in engine.batches(requests, 32100, 10**6))


def test_errors_say_what_to_do(tmp_path, monkeypatch):
    saved(tmp_path)

    def full(**_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", full)
        with pytest.raises(ModelError, match=r"cannot be written \(No space left on device\); copy the model"):
            engine.converted(tmp_path, "float32")
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"cannot be loaded .*; save the model again"):
        engine.converted(tmp_path, "float32")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelError, match="'gpt2'; engine ctranslate2 takes 't5'"):
        engine.converted(tmp_path, "float32")
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UsageError, match=r"pip install 'coderl\[ctranslate2\]'"):
        engine.converted(tmp_path, "float32")
