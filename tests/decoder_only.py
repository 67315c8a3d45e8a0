"""Small decoder-only folders for tests: GPT-2 (no padding token, no opening) and Llama (<s> in front of texts, grouped heads)."""

import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from coderl.prompts import prompt


def _bpe(problems, special):
    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    texts = [text for p in problems for text in (prompt(p), *p.solutions)]
    bpe.train_from_iterator(texts, vocab_size=300, min_frequency=2, special_tokens=list(special), show_progress=False)
    return bpe._tokenizer


def gpt2_folder(folder, problems, positions=512):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_bpe(problems, ["<|endoftext|>"]), eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=304, n_embd=32, n_layer=2, n_head=4, n_positions=positions, bos_token_id=0, eos_token_id=0))
    return _saved(folder, model, tokenizer)


def llama_folder(folder, problems, positions=512):
    inner = _bpe(problems, ["<unk>", "<s>", "</s>"])
    inner.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), **sizes, max_position_embeddings=positions, bos_token_id=1, eos_token_id=2)
    return _saved(folder, LlamaForCausalLM(config), tokenizer)


def _saved(folder, model, tokenizer):
    """Saved with a sharpened output, so that greedy programs vary."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


FAMILIES = [gpt2_folder, llama_folder]
