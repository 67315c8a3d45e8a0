"""Critic directories: what is written comes back, `from_pretrained` reads the body, and what is no critic is refused in one sentence."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5ForConditionalGeneration, T5Model

from coderl.errors import CoderlError, ModelError
from coderl.models.critic import PaperHead, ReleasedHead, critic_from_config, load_critic, load_released_critic, save_critic


def t5_config(tie: bool = True) -> T5Config:
    return T5Config(
        vocab_size=40,
        d_model=16,
        d_kv=4,
        d_ff=32,
        num_layers=1,
        num_heads=4,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=0,
        tie_word_embeddings=tie,
    )


def scores(critic):
    random = torch.Generator().manual_seed(1)
    problems, programs = torch.randint(3, 40, (2, 6), generator=random), torch.randint(3, 40, (2, 5), generator=random)
    with torch.no_grad():
        return critic.eval()(problems, torch.ones(2, 6), programs, torch.ones(2, 5, dtype=torch.bool))


@pytest.fixture
def saved(tmp_path):
    directory = tmp_path / "critic"
    save_critic(critic_from_config(t5_config(), PaperHead, 4, seed=0), directory)
    return directory


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("outcomes", [2, 4])
@pytest.mark.parametrize("head", [PaperHead, ReleasedHead])
def test_what_is_saved_comes_back_to_the_bit(tmp_path, head, outcomes, tie):
    critic = critic_from_config(t5_config(tie), head, outcomes, seed=2)
    save_critic(critic, tmp_path)
    again = load_critic(tmp_path)
    assert type(again.head) is head and again.outcomes == outcomes and not again.training
    assert again.config.scale_decoder_outputs is tie
    for found, wanted in zip(scores(again), scores(critic)):
        assert torch.equal(found, wanted)


def test_transformers_loads_the_body_with_nothing_missing_and_nothing_left(saved):
    body, report = T5Model.from_pretrained(str(saved), output_loading_info=True)
    assert not any(report.values()), report
    wanted = load_critic(saved).body.state_dict()
    assert all(torch.equal(weight, wanted[name]) for name, weight in body.state_dict().items())


def test_the_directory_says_what_it_is(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "critic.json", "head.safetensors", "model.safetensors"]
    assert json.loads((saved / "critic.json").read_text()) == {"head": "paper", "outcomes": 4}
    assert json.loads((saved / "config.json").read_text())["architectures"] == ["T5Model"]


def test_saving_again_over_a_critic_replaces_it(saved):
    save_critic(critic_from_config(t5_config(), ReleasedHead, 2, seed=1), saved)
    assert isinstance(load_critic(saved).head, ReleasedHead)


def test_saving_where_a_file_stands_fails_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CoderlError, match="cannot be written"):
        save_critic(critic_from_config(t5_config(), PaperHead, 4, seed=0), tmp_path / "file")


def damage_marker(d):
    (d / "critic.json").write_text('{"head": "paper", "outcomes": 3}')


def damage_marker_text(d):
    (d / "critic.json").write_text("{")


def unhashable_head(d):
    (d / "critic.json").write_text('{"head": ["paper"], "outcomes": 4}')


def other_head(d):
    (d / "critic.json").write_text('{"head": "released", "outcomes": 4}')


def torn_weights(d):
    path = d / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_model(d):
    (d / "config.json").write_text('{"model_type": "bert"}')


def broken_config(d):
    values = json.loads((d / "config.json").read_text())
    (d / "config.json").write_text(json.dumps({**values, "d_model": "wide"}))


def other_sizes(d):
    values = json.loads((d / "config.json").read_text())
    (d / "config.json").write_text(json.dumps({**values, "d_ff": 64}))


def more_layers(d):
    values = json.loads((d / "config.json").read_text())
    (d / "config.json").write_text(json.dumps({**values, "num_decoder_layers": 3}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: (d / "critic.json").unlink(), "holds no critic.json.*coderl train-critic"),
        (damage_marker, "must be .*2 or 4"),
        (damage_marker_text, "critic.json cannot be read"),
        (unhashable_head, "must be"),
        (other_head, "does not fit a released head"),
        (lambda d: (d / "head.safetensors").unlink(), "head.safetensors"),
        (lambda d: (d / "head.safetensors").write_bytes(b"\x00"), "head.safetensors"),
        (torn_weights, "weights in .* cannot be read"),
        (lambda d: (d / "model.safetensors").unlink(), "neither model.safetensors nor pytorch_model.bin"),
        (lambda d: (d / "config.json").unlink(), "no config.json"),
        (other_model, "'bert'.*T5 body, or a decoder-only one"),
        (broken_config, "no configuration of such a model"),
        (other_sizes, "do not have the sizes"),
        (more_layers, "lacks the weight decoder.block"),
        (lambda d: (d / "config.json").write_text("[1]"), "no configuration of such a model"),
    ],
)
def test_a_damaged_directory_is_refused_in_one_sentence(saved, damage, words):
    damage(saved)
    with pytest.raises(ModelError, match=words) as caught:
        load_critic(saved)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_no_directory_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"holds no critic\.json"):
        load_critic(tmp_path / "nowhere")


def released_checkpoint(directory, tie: bool, pickled: bool):
    """A checkpoint in the form the authors' code saves: T5 with its vocabulary head, all copies, and an error head."""
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(t5_config(tie))
    head = torch.nn.Sequential(torch.nn.Linear(16, 128), torch.nn.ReLU(), torch.nn.Linear(128, 4))
    weights = dict(model.state_dict()) | {f"error_head.{name}": value for name, value in head.state_dict().items()}
    values = t5_config().to_dict()
    values.pop("scale_decoder_outputs", None)
    values["tie_word_embeddings"] = tie
    (directory / "config.json").write_text(json.dumps(values))
    if pickled:
        torch.save(weights, directory / "pytorch_model.bin")
    else:
        save_file({name: value.clone() for name, value in weights.items()}, directory / "model.safetensors")
    return model, head


@pytest.mark.parametrize("pickled", [True, False])
@pytest.mark.parametrize("tie", [True, False])
def test_a_released_checkpoint_loads(tmp_path, tie, pickled):
    model, head = released_checkpoint(tmp_path, tie, pickled)
    critic = load_released_critic(tmp_path)
    assert torch.equal(critic.body.shared.weight, model.shared.weight)
    assert all(torch.equal(a, b) for a, b in zip(critic.head.parameters(), head.parameters()))
    assert critic.config.scale_decoder_outputs is tie and critic.outcomes == 4


def test_a_released_checkpoint_saved_as_ours_keeps_its_numbers(tmp_path):
    released_checkpoint(tmp_path, True, False)
    critic = load_released_critic(tmp_path)
    save_critic(critic, tmp_path / "ours")
    torch.testing.assert_close(scores(load_critic(tmp_path / "ours")).logits, scores(critic).logits, atol=1e-5, rtol=0)


def test_a_checkpoint_without_error_head_is_no_released_critic(saved):
    with pytest.raises(ModelError, match="no weights named error_head"):
        load_released_critic(saved)


def test_an_error_head_of_another_shape_is_refused(tmp_path):
    released_checkpoint(tmp_path, True, False)
    weights = load_file(tmp_path / "model.safetensors")
    weights["error_head.2.weight"] = torch.zeros(2, 128)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"error head in .* is not Linear"):
        load_released_critic(tmp_path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    released_checkpoint(tmp_path, True, True)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(print))
    with pytest.raises(ModelError, match="cannot be read"):
        load_released_critic(tmp_path)
