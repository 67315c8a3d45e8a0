"""The torch engine: greedy equals Hugging Face, sampling equals the exact distribution, and no batch changes a program."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from coderl.engines.torch_engine import Decoding, Request, generate, nucleus_choice, stream_key, uniforms
from coderl.errors import UsageError
from coderl.models.actor import small_t5


def sharp_model(vocabulary=64, seed=0, width=32):
    """Random weights with a sharpened output, so that greedy programs vary and end now and then."""
    model = small_t5(vocabulary, seed, width=width, heads=4, feed_forward=64).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
        model.decoder.final_layer_norm.weight.mul_(4.0)
        model.shared.weight[2] *= 2.0  # </s> wins now and then
    return model


def random_prompts(count, vocabulary=64, seed=1):
    draw = random.Random(seed)
    return [tuple(draw.randrange(5, vocabulary) for _ in range(draw.randrange(3, 30))) for _ in range(count)]


def test_greedy_equals_hugging_face_on_200_prompts():
    model, prompts = sharp_model(), random_prompts(200)
    requests = [Request(str(i), p, (0,)) for i, p in enumerate(prompts)]
    ours = {g.key: g for g in generate(model, requests, Decoding(temperature=0, max_tokens=24, rows=64), seed=0)}
    ended = 0
    for i, prompt in enumerate(prompts):
        theirs = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False, num_beams=1)[0, 1:].tolist()
        assert list(ours[str(i)].ids) == theirs
        ended += not ours[str(i)].cut
    assert 0 < ended < 200  # both ends occur: </s> and the length limit


def sequences_with_probability(model, prompt, size, temperature):
    """All programs of at most `size` tokens with their exact probability, from full forward passes."""
    vocabulary, end = model.config.vocab_size, model.config.eos_token_id
    result = {}

    def walk(prefix, probability):
        if prefix and (prefix[-1] == end or len(prefix) == size):
            result[prefix] = probability
            return
        decoder = torch.tensor([[0, *prefix]])
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0, -1] / temperature
        for token, p in enumerate(logits.softmax(-1).tolist()):
            walk((*prefix, token), probability * p)

    assert vocabulary <= 8
    with torch.inference_mode():
        walk((), 1.0)
    return result


def test_samples_follow_the_exact_distribution():
    model = small_t5(6, 3, width=16, heads=2, feed_forward=32).eval()
    with torch.no_grad():
        model.decoder.final_layer_norm.weight.mul_(2.0)
    prompt, draws = (3, 4, 5), 4000
    exact = sequences_with_probability(model, prompt, 2, 0.8)
    assert math.isclose(sum(exact.values()), 1, abs_tol=1e-5)
    decoding = Decoding(temperature=0.8, top_p=1.0, max_tokens=2, rows=512)
    counts = dict.fromkeys(exact, 0)
    for sample in generate(model, [Request("p", prompt, tuple(range(draws)))], decoding, seed=5):
        counts[sample.ids] += 1
    names = sorted(exact, key=exact.get, reverse=True)
    common = [n for n in names if exact[n] * draws >= 5]
    rest = [n for n in names if exact[n] * draws < 5]
    observed = [counts[n] for n in common] + [sum(counts[n] for n in rest)]
    expected = [exact[n] * draws for n in common] + [sum(exact[n] for n in rest) * draws]
    if expected[-1] < 1:
        observed, expected = observed[:-1], [e * sum(observed[:-1]) / sum(expected[:-1]) for e in expected[:-1]]
    scaled = [e * sum(observed) / sum(expected) for e in expected]
    assert chisquare(observed, scaled).pvalue > 1e-3


def test_log_probabilities_are_those_of_the_model():
    model, prompt = sharp_model(), random_prompts(1)[0]
    (sample,) = generate(model, [Request("p", prompt, (7,))], Decoding(temperature=0.7, top_p=0.9, max_tokens=12), seed=2)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[0, *sample.ids[:-1]]])).logits[0]
    expected = logits.log_softmax(-1)[range(len(sample.ids)), list(sample.ids)]
    assert torch.allclose(torch.tensor(sample.logprobs), expected, atol=1e-4)
    assert all(s >= m - 1e-4 for s, m in zip(sample.sampling_logprobs, (logits / 0.7).log_softmax(-1)[range(len(sample.ids)), list(sample.ids)]))


@pytest.mark.parametrize("rows", [3, 17, 400])
def test_a_program_does_not_depend_on_its_batch(rows):
    model, prompts = sharp_model(), random_prompts(12)
    requests = [Request(str(i), p, tuple(range(5))) for i, p in enumerate(prompts)]
    random.Random(rows).shuffle(requests)
    decoding = Decoding(temperature=1.0, top_p=0.95, max_tokens=16, rows=rows)
    got = {(g.key, g.sample): g.ids for g in generate(model, requests, decoding, seed=9)}
    alone = Decoding(temperature=1.0, top_p=0.95, max_tokens=16, rows=1)
    some = [Request(str(i), prompts[i], (j,)) for i, j in itertools.product((0, 5, 11), (0, 4))]
    for sample in generate(model, some, alone, seed=9):
        assert got[sample.key, sample.sample] == sample.ids
    assert len(got) == 60


def test_nucleus_keeps_the_smallest_set_that_reaches_the_mass():
    # p = 0.5, 0.3, 0.15, 0.05; top_p 0.7 keeps the first two (0.5 < 0.7 <= 0.8), renormalised to 0.625 and 0.375
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log().repeat(5, 1)
    choice = nucleus_choice(logits, torch.tensor([0.0, 0.6, 0.63, 0.9, 0.999999]), 1.0, 0.7)
    assert choice.tokens.tolist() == [1, 1, 3, 3, 3]
    assert torch.allclose(choice.sampling_logprobs.exp(), torch.tensor([0.625, 0.625, 0.375, 0.375, 0.375]))
    assert torch.allclose(choice.logprobs.exp(), torch.tensor([0.5, 0.5, 0.3, 0.3, 0.3]))


def test_a_short_list_changes_nothing():
    torch.manual_seed(0)
    logits, uniform = torch.randn(300, 200) * 2, torch.rand(300)
    short = nucleus_choice(logits, uniform, 0.9, 0.95, shortlist=8)
    full = nucleus_choice(logits, uniform, 0.9, 0.95, shortlist=200)
    assert torch.equal(short.tokens, full.tokens)


def test_uniforms_are_splitmix64():
    def slow(stream, position):
        m = 2**64 - 1
        z = (stream + 0x9E3779B97F4A7C15 * (position + 1)) & m
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & m
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & m
        return ((z ^ (z >> 31)) >> 11) / 2**53

    streams = [stream_key(0, "a", i) for i in range(50)]
    for position in (0, 1, 77):
        assert uniforms(np.array(streams, dtype=np.uint64), position).tolist() == [slow(s, position) for s in streams]
    assert len(set(streams)) == 50
    many = uniforms(np.arange(20000, dtype=np.uint64), 3)
    assert abs(many.mean() - 0.5) < 0.01 and many.min() >= 0 and many.max() < 1


@pytest.mark.parametrize("decoding", [Decoding(temperature=-1), Decoding(top_p=0), Decoding(top_p=1.5), Decoding(max_tokens=0)])
def test_impossible_settings_are_refused(decoding):
    with pytest.raises(UsageError, match="must be"):
        list(generate(sharp_model(), [], decoding, seed=0))
