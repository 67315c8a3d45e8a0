"""The torch engine: greedy equals Hugging Face, sampling equals the exact distribution, and no batch changes a program."""

import itertools
import math
import random

import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    CodeGenConfig,
    CodeGenForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from coderl.engines.requests import Decoding, Request
from coderl.engines.torch_engine import generate
from coderl.errors import UsageError
from coderl.models.actor import small_t5

GREEDY = Decoding(temperature=0, max_tokens=24)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}


def t5(vocabulary=64, seed=0, width=32):
    """Random weights with a sharpened output, so that greedy programs vary and end now and then."""
    model = small_t5(vocabulary, seed, width=width, heads=4, feed_forward=64).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
        model.decoder.final_layer_norm.weight.mul_(4.0)
        model.shared.weight[2] *= 2.0  # </s> wins now and then
    return model


def gated_t5():
    """The other kind of T5: a gated feed-forward, and a head that is not the embedding."""
    torch.manual_seed(1)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
    return sharp(
        T5ForConditionalGeneration(
            T5Config(vocab_size=64, **sizes, feed_forward_proj="gated-gelu", tie_word_embeddings=False, eos_token_id=2, decoder_start_token_id=0)
        )
    )


def sharp(model):
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6.0)
    return model.eval()


def ids(vocabulary):
    return {"vocab_size": vocabulary, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def gpt2(vocabulary=64):
    torch.manual_seed(0)
    return sharp(GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **ids(vocabulary))))


def llama(vocabulary=64):
    torch.manual_seed(0)
    return sharp(LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=4, **ids(vocabulary))))


def qwen2(vocabulary=64):
    torch.manual_seed(0)
    return sharp(Qwen2ForCausalLM(Qwen2Config(**SMALL, num_key_value_heads=2, **ids(vocabulary))))


def qwen3(vocabulary=64):
    torch.manual_seed(0)
    return sharp(Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=8, num_key_value_heads=2, **ids(vocabulary))))


def starcoder2(vocabulary=64):
    torch.manual_seed(0)
    return sharp(Starcoder2ForCausalLM(Starcoder2Config(**SMALL, num_key_value_heads=2, **ids(vocabulary))))


def codegen(vocabulary=64):
    torch.manual_seed(0)
    return sharp(CodeGenForCausalLM(CodeGenConfig(n_embd=32, n_layer=2, n_head=4, n_positions=64, n_ctx=64, rotary_dim=4, **ids(vocabulary))))


FAMILIES = [t5, gated_t5, gpt2, llama, qwen2, qwen3, starcoder2, codegen]


def random_prompts(count, vocabulary=64, seed=1):
    draw = random.Random(seed)
    return [tuple(draw.randrange(5, vocabulary) for _ in range(draw.randrange(1, 30))) for _ in range(count)]


def logits_after(model, prompt, program):
    """Logits (len(program) + 1, V) from one full forward pass without any cache."""
    with torch.inference_mode():
        if model.config.is_encoder_decoder:
            return model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[0, *program]])).logits[0]
        whole = torch.tensor([[*prompt, *program]])
        return model(input_ids=whole, attention_mask=torch.ones_like(whole)).logits[0, len(prompt) - 1 :]


def hugging_face(model, prompts, tokens):
    """Greedy programs of prompts of one length, as `generate` writes them."""
    whole = torch.tensor(prompts)
    written = model.generate(
        input_ids=whole, attention_mask=torch.ones_like(whole), max_new_tokens=tokens, do_sample=False, num_beams=1, pad_token_id=0, use_cache=True
    )
    rows = written[:, 1 if model.config.is_encoder_decoder else whole.shape[1] :].tolist()
    return [tuple(row[: row.index(2) + 1] if 2 in row else row) for row in rows]


def tied(model, prompt, ours, theirs):
    """Do two programs part where the two tokens have nearly the same logit?"""
    at = next(i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b)
    logits = logits_after(model, prompt, ours[:at])[-1]
    return abs(float(logits[ours[at]] - logits[theirs[at]])) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_hugging_face_on_200_prompts(family):
    model, prompts = family(), random_prompts(200)
    requests = [Request(str(i), p, (0,), GREEDY) for i, p in enumerate(prompts)]
    ours = {g.key: g for g in generate(model, requests, seed=0, rows=64)}
    assert len(ours) == 200
    other = 0
    for size in sorted(set(map(len, prompts))):
        same = [i for i, p in enumerate(prompts) if len(p) == size]
        for i, theirs in zip(same, hugging_face(model, [prompts[i] for i in same], 24), strict=True):
            if ours[str(i)].ids != theirs:
                assert tied(model, prompts[i], ours[str(i)].ids, theirs)
                other += 1
    assert other <= 1
    assert len({g.ids for g in ours.values()}) > 50
    if family in (t5, gpt2, llama, qwen2):
        assert 0 < sum(g.cut for g in ours.values()) < 200  # both ends occur: </s> and the length limit


@pytest.mark.parametrize("family", FAMILIES)
def test_a_greedy_program_goes_on_from_its_own_prefix(family):
    """Prefixes of all lengths in one batch, several of them for one prompt."""
    model, prompts = family(), random_prompts(12)
    whole = {g.key: g.ids for g in generate(model, [Request(str(i), p, (0,), GREEDY) for i, p in enumerate(prompts)], seed=0)}
    requests = [Request(f"{i} {n}", p, (3,), GREEDY, whole[str(i)][:n]) for i, p in enumerate(prompts) for n in range(len(whole[str(i)]))]
    assert len(requests) > 60
    for sample in generate(model, requests, seed=0, rows=40):
        assert sample.ids == whole[sample.key.split()[0]]
        assert sample.prefix == int(sample.key.split()[1])
        assert len(sample.logprobs) == len(sample.sampling_logprobs) == len(sample.ids) - sample.prefix


def nucleus(p, top_p):
    """Probabilities of the smallest set of most likely tokens that reaches `top_p`, from the definition."""
    kept, mass = {}, 0.0
    for token in sorted(range(len(p)), key=lambda i: -p[i]):
        kept[token] = p[token]
        mass += p[token]
        if mass >= top_p - 1e-9:
            break
    return {token: value / mass for token, value in kept.items()}


def exactly(model, prompt, decoding, prefix):
    """All programs that begin with `prefix`, with their exact probability, from full forward passes."""
    result = {}

    def walk(program, probability):
        if len(program) > len(prefix) and (program[-1] == 2 or len(program) == decoding.max_tokens):
            result[program] = probability
            return
        p = (logits_after(model, prompt, program)[-1] / decoding.temperature).softmax(-1).tolist()
        for token, chance in nucleus(p, decoding.top_p).items():
            walk((*program, token), probability * chance)

    walk(tuple(prefix), 1.0)
    assert math.isclose(sum(result.values()), 1, abs_tol=1e-5)
    return result


def toy_t5():
    model = small_t5(5, 3, width=16, heads=2, feed_forward=32).eval()
    with torch.no_grad():
        model.decoder.final_layer_norm.weight.mul_(0.5)
    return model


def toy_gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, initializer_range=0.15, **ids(5))).eval()


@pytest.mark.parametrize("top_p, prefix", [(1.0, ()), (0.8, ()), (1.0, (3,)), (0.8, (4, 3))])
@pytest.mark.parametrize("family", [toy_t5, toy_gpt2])
def test_samples_follow_the_exact_distribution(family, top_p, prefix):
    """Five tokens, four in a program: every program there is has its probability."""
    model, prompt, draws = family(), (3, 4, 3), 6000
    decoding = Decoding(temperature=0.8, top_p=top_p, max_tokens=4)
    exact = exactly(model, prompt, decoding, prefix)
    counts = dict.fromkeys(exact, 0)
    for sample in generate(model, [Request("p", prompt, tuple(range(draws)), decoding, prefix)], seed=5):
        counts[sample.ids] += 1  # a program that cannot be drawn is a KeyError
        assert math.isclose(sum(sample.sampling_logprobs), math.log(exact[sample.ids]), abs_tol=1e-4)
    common = [n for n in exact if exact[n] * draws >= 5]
    rest = [n for n in exact if exact[n] * draws < 5]
    observed = [counts[n] for n in common]
    expected = [exact[n] * draws for n in common]
    if rest and sum(exact[n] for n in rest) * draws >= 5:
        observed.append(sum(counts[n] for n in rest))
        expected.append(sum(exact[n] for n in rest) * draws)
    assert len(observed) > 8
    scaled = [e * sum(observed) / sum(expected) for e in expected]
    assert chisquare(observed, scaled).pvalue > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_the_model(family):
    model, prompt = family(), random_prompts(1)[0]
    decoding = Decoding(temperature=0.7, top_p=0.9, max_tokens=12)
    for sample in generate(model, [Request("p", prompt, (7, 9), decoding), Request("q", prompt, (1,), decoding, (8, 9, 10))], seed=2):
        drawn = sample.ids[sample.prefix :]
        logits = logits_after(model, prompt, sample.ids)[sample.prefix : -1]
        expected = logits.log_softmax(-1)[range(len(drawn)), list(drawn)]
        assert torch.allclose(torch.tensor(sample.logprobs), expected, atol=2e-3)
        hot = (logits / 0.7).log_softmax(-1)[range(len(drawn)), list(drawn)]
        assert all(s >= h - 2e-3 for s, h in zip(sample.sampling_logprobs, hot))  # a nucleus only takes away from the others


@pytest.mark.parametrize("rows", [1, 3, 17, 400])
@pytest.mark.parametrize("family", [t5, gpt2, qwen2])
def test_a_program_does_not_depend_on_its_batch(family, rows):
    """Neither on the rows, nor the order of the requests, nor on who is written beside it, nor on what is done already."""
    model, prompts = family(), random_prompts(10)
    decoding = Decoding(temperature=1.0, top_p=0.95, max_tokens=16)
    requests = [Request(str(i), p, tuple(range(4)), decoding, (9,) * (i % 3)) for i, p in enumerate(prompts)]
    wanted = {(g.key, g.sample): g.ids for g in generate(model, requests, seed=9, rows=64)}
    random.Random(rows).shuffle(requests)
    got = {(g.key, g.sample): g.ids for g in generate(model, requests, seed=9, rows=rows)}
    assert got == wanted and len(got) == 40 and len(set(got.values())) > 15
    some = [r._replace(indices=(j,)) for r, j in itertools.product(requests[::3], (0, 3))]
    for sample in generate(model, [*some, Request("greedy", prompts[0], (0,), GREEDY)], seed=9, rows=rows):
        assert sample.key == "greedy" or wanted[sample.key, sample.sample] == sample.ids


def test_samples_of_a_prompt_differ_and_follow_the_seed():
    model, prompt = t5(), random_prompts(1)[0]
    request = Request("p", prompt, tuple(range(30)), Decoding(temperature=1.0, max_tokens=16))
    first, second = ({g.sample: g.ids for g in generate(model, [request], seed)} for seed in (0, 1))
    assert len(set(first.values())) > 10 and first != second


def test_every_request_keeps_its_own_limits():
    model, prompts = t5(), random_prompts(6)
    requests = [Request(str(i), p, (0, 1), Decoding(temperature=(i % 2) * 1.0, top_p=0.9, max_tokens=2 + i)) for i, p in enumerate(prompts)]
    for sample in generate(model, requests, seed=0):
        assert len(sample.ids) <= 2 + int(sample.key) and (len(sample.ids) == 2 + int(sample.key) or not sample.cut)
        if int(sample.key) % 2 == 0:
            assert [sample.ids] == hugging_face(model, [prompts[int(sample.key)]], 2 + int(sample.key)) and sum(sample.sampling_logprobs) == 0


def test_a_prompt_is_read_once(monkeypatch):
    """400 programs for five prompts, twenty at a time, with and without prefixes: the encoder sees each prompt once."""
    model, prompts = t5(), random_prompts(5)
    seen = []
    forward = model.encoder.forward

    def counting(input_ids=None, **more):
        seen.extend(map(tuple, input_ids.tolist()))
        return forward(input_ids=input_ids, **more)

    monkeypatch.setattr(model.encoder, "forward", counting)
    requests = [Request(f"{i} {n}", p, tuple(range(20)), Decoding(max_tokens=6), (7,) * n) for i, p in enumerate(prompts) for n in range(4)]
    assert sum(1 for _ in generate(model, requests, seed=0, rows=20)) == 400
    assert len(seen) == 5


def test_programs_come_out_while_others_wait():
    """The first program is there before half of the prompts have been read; the last request's place was taken over from a finished one."""
    model = t5()
    requests = [Request(str(i), p, tuple(range(4)), Decoding(temperature=1.0, max_tokens=8)) for i, p in enumerate(random_prompts(40))]
    read = []
    forward = model.encoder.forward
    model.encoder.forward = lambda input_ids=None, **more: (read.append(len(input_ids)), forward(input_ids=input_ids, **more))[1]
    stream = generate(model, requests, seed=0, rows=16)
    next(stream)
    assert sum(read) < 20
    assert sum(1 for _ in stream) == 159


def test_a_model_in_training_stays_in_training():
    model = t5().train()
    list(generate(model, [Request("p", (5, 6), (0,), GREEDY)], seed=0))
    assert model.training


def test_no_requests_are_no_programs():
    assert list(generate(t5(), [], seed=0)) == []


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BloomForCausalLM(BloomConfig(hidden_size=16, n_layer=1, n_head=2, **ids(32))), "BloomForCausalLM cannot be run by the torch engine"),
        (
            lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=8, **ids(32))),
            "Gemma2Attention has attention with softcap",
        ),
    ],
)
def test_attention_that_is_not_the_plain_one_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        list(generate(make().eval(), [Request("p", (5, 6), (0,), GREEDY)], seed=0))


def test_models_keep_their_own_attention():
    """The engine's attention function is in place only while a step runs."""
    model = llama()
    before = model.config._attn_implementation
    stream = generate(model, [Request("p", (5, 6), (0, 1), Decoding(temperature=1.0, max_tokens=16))], seed=0)
    next(stream)
    assert model.config._attn_implementation == before
    stream.close()


def test_bfloat16_weights_run():
    model = t5().bfloat16()
    samples = list(generate(model, [Request("p", (5, 6, 7), tuple(range(6)), Decoding(temperature=1.0, max_tokens=8))], seed=0))
    assert len(samples) == 6 and all(math.isfinite(x) for s in samples for x in (*s.logprobs, *s.sampling_logprobs))
