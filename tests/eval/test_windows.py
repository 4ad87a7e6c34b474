import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rope_scaling.eval.recall import IGNORE
from rope_scaling.eval.windows import Windows
from tests.eval.tiny import tiny_checkpoint

TEXT = "".join(chr(97 + i * i % 26) + "." * (i % 9 == 0) for i in range(3000))


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no bos"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), bos=request.param))


def test_plain_windows_are_cut_from_the_text_and_learned_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    leads = tokenizer("")["input_ids"]
    for row in [Windows(tokenizer, TEXT, 200, 20, 0.0, seed=3)[i] for i in range(20)]:
        assert len(row["input_ids"]) == 200
        assert torch.equal(row["input_ids"], row["labels"])
        assert row["input_ids"][: len(leads)].tolist() == leads
        assert tokenizer.decode(row["input_ids"][len(leads) :]).replace(" ", "") in TEXT


def test_a_window_depends_on_seed_and_index_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    long, short = (Windows(tokenizer, TEXT, 700, count, 0.5, seed=3) for count in (50, 5))
    assert all(torch.equal(long[i][key], short[i][key]) for i in range(5) for key in long[i])
    assert len(long) == 50
    assert not torch.equal(long[0]["input_ids"], long[1]["input_ids"])
    assert not torch.equal(long[0]["input_ids"], Windows(tokenizer, TEXT, 700, 50, 0.5, seed=4)[0]["input_ids"])


def test_the_share_asked_for_has_something_to_recall(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = Windows(tokenizer, TEXT, 700, 200, 0.4, seed=0)
    having = sum(bool((rows[i]["labels"][1:] == IGNORE).any()) for i in range(200))
    assert 55 < having < 105  # 80 expected; 3.5 standard deviations
    assert all(len(rows[i]["input_ids"]) == 700 for i in range(200))


def test_a_text_shorter_than_a_window_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="the text has 10 tokens, a window takes"):
        Windows(tokenizer, TEXT[:10], 200, 1, 0.0, seed=0)
