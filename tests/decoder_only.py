"""Small decoder-only folders for tests: one of each family that the pages name, saved as their authors save them.

GPT-2 and CodeGen: no padding token, nothing in front of a text. Llama: <s> in front. StarCoder2, Qwen2 and Qwen3: grouped heads; Qwen
has a chat template, and its texts end with the token that ends a turn.
"""

import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    CodeGenConfig,
    CodeGenForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

from coderl.prompts import prompt

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
CHAT = (
    "{%- if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{%- for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen's template, its tools left out."""


def _bpe(problems, special):
    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    texts = [text for p in problems for text in (prompt(p), *p.solutions)]
    bpe.train_from_iterator(texts, vocab_size=300, min_frequency=2, special_tokens=list(special), show_progress=False)
    return bpe._tokenizer


def _bare(problems):
    return PreTrainedTokenizerFast(tokenizer_object=_bpe(problems, ["<|endoftext|>"]), eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def gpt2_folder(folder, problems, positions=512):
    ids = {"vocab_size": 304, "bos_token_id": 0, "eos_token_id": 0}
    return _saved(folder, GPT2LMHeadModel, GPT2Config(**GPT, **ids, n_positions=positions), _bare(problems))


def codegen_folder(folder, problems, positions=512):
    ids = {"vocab_size": 304, "bos_token_id": 0, "eos_token_id": 0}
    return _saved(folder, CodeGenForCausalLM, CodeGenConfig(**GPT, **ids, n_positions=positions, n_ctx=positions, rotary_dim=4), _bare(problems))


def starcoder2_folder(folder, problems, positions=512):
    ids = {"vocab_size": 304, "bos_token_id": 0, "eos_token_id": 0}
    return _saved(folder, Starcoder2ForCausalLM, Starcoder2Config(**SIZES, **ids, max_position_embeddings=positions), _bare(problems))


def llama_folder(folder, problems, positions=512):
    inner = _bpe(problems, ["<unk>", "<s>", "</s>"])
    inner.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    ids = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2}
    return _saved(folder, LlamaForCausalLM, LlamaConfig(**SIZES, **ids, max_position_embeddings=positions), tokenizer)


def _qwen_tokenizer(problems):
    inner = _bpe(problems, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT)


def qwen2_folder(folder, problems, positions=512):
    ids = {"vocab_size": 304, "bos_token_id": 0, "eos_token_id": 2}
    return _saved(folder, Qwen2ForCausalLM, Qwen2Config(**SIZES, **ids, max_position_embeddings=positions), _qwen_tokenizer(problems))


def qwen3_folder(folder, problems, positions=512):
    ids = {"vocab_size": 304, "bos_token_id": 0, "eos_token_id": 2}
    return _saved(folder, Qwen3ForCausalLM, Qwen3Config(**SIZES, **ids, head_dim=8, max_position_embeddings=positions), _qwen_tokenizer(problems))


def _saved(folder, family, config, tokenizer):
    """Saved with a sharpened output, so that greedy programs vary."""
    torch.manual_seed(0)
    model = family(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


FAMILIES = [gpt2_folder, codegen_folder, starcoder2_folder, llama_folder, qwen2_folder, qwen3_folder]
