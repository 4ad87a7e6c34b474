"""A run whose tasks lm-eval's vLLM model answers; in the place of vLLM stands Transformers, told by the same words."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from typer.testing import CliRunner, Result

from rope_scaling.cli import app
from rope_scaling.eval.serving.model import make_model, vllm_arguments
from rope_scaling.eval.truncation import TruncationError
from tests.eval.serving import fake_vllm
from tests.eval.tiny import TRAINED, tiny_checkpoint

LENGTH = 288
SCHEMES = ("none", "yarn:factor=9", "ntk-by-parts:factor=9")
ASKED = ["--tasks", "rope_passkey,rope_passkey_mc,rope_ppl", "--lengths", f"{LENGTH}", "--depths", "0,1"]
ASKED += [part for scheme in SCHEMES for part in ("--scheme", scheme)] + ["--samples", "1", "--dtype", "float32"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def installed() -> Iterator[type[fake_vllm.LLM]]:
    with pytest.MonkeyPatch.context() as patch:
        yield fake_vllm.install(patch)


@pytest.fixture
def vllm(installed: type[fake_vllm.LLM], monkeypatch: pytest.MonkeyPatch) -> type[fake_vllm.LLM]:
    monkeypatch.setenv("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "")
    installed.started.clear()
    return installed


def evaluate(checkpoint: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["eval", checkpoint, *arguments])


def scores(place: Path) -> dict[str, Any]:
    """What every question scored, by task and scheme."""
    record = json.loads((place / "run.json").read_text())
    return {
        task: {
            scheme: [(one["key"], one["got"], round(one["score"], 4)) for one in entry["answers"]]
            for scheme, entry in told["schemes"].items()
        }
        for task, told in record["tasks"].items()
    }


def test_what_lm_eval_hands_to_vllm_scores_what_rope_hf_scores(
    checkpoint: str, vllm: type[fake_vllm.LLM], tmp_path: Path
) -> None:
    served = evaluate(checkpoint, *ASKED, "--backend", "vllm", "-o", str(tmp_path / "served"))
    assert served.exit_code == 0, served.output
    assert [one.arguments["max_model_len"] for one in vllm.started] == [LENGTH + 1] * len(SCHEMES)
    plain = evaluate(checkpoint, *ASKED, "-o", str(tmp_path / "plain"))
    assert plain.exit_code == 0, plain.output
    own = scores(tmp_path / "served")
    assert own == scores(tmp_path / "plain")
    assert {len(answers) for told in own.values() for answers in told.values()} == {1, 2}
    again = evaluate(checkpoint, *ASKED, "--backend", "vllm", "-o", str(tmp_path / "served"))
    assert again.exit_code == 0, again.output
    other = evaluate(checkpoint, *ASKED, "-o", str(tmp_path / "served"))
    assert "another --device: vllm, this is cpu" in other.output


def test_a_request_that_lm_eval_would_cut_is_refused(checkpoint: str, vllm: type[fake_vllm.LLM]) -> None:
    model = make_model(vllm_arguments(checkpoint, {}, TRAINED - 1, "float32", 1, {}), beyond=False)
    fits = Instance("loglikelihood", {}, ("x" * (TRAINED - 2), "y"), 0)
    assert len(model.loglikelihood([fits])) == 1
    with pytest.raises(TruncationError, match="1 of 1 loglikelihood requests are longer than the model's 31 tokens"):
        model.loglikelihood([Instance("loglikelihood", {}, ("x" * (TRAINED - 1), "y"), 0)])
    with pytest.raises(TruncationError, match="1 of 1 generate_until requests"):
        model.generate_until([Instance("generate_until", {}, ("x" * 30, {"until": [], "max_gen_toks": 3}), 0)])


def test_the_token_that_is_never_read_may_lie_beyond_the_angles(checkpoint: str, vllm: type[fake_vllm.LLM]) -> None:
    arguments = vllm_arguments(checkpoint, {}, TRAINED, "float32", 1, {})
    make_model(arguments, beyond=False)
    assert os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] == ""
    make_model(arguments, beyond=True)
    assert os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] == "1"


def test_every_argument_is_one_of_lm_evals_model_or_of_vllm() -> None:
    """Without vLLM lm-eval's class cannot be imported: its signature is read from its source."""
    spec = importlib.util.find_spec("lm_eval.models.vllm_causallms")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    (init,) = (
        method
        for kind in tree.body
        if isinstance(kind, ast.ClassDef) and kind.name == "VLLM"
        for method in kind.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
    )
    named = {argument.arg for argument in init.args.args}
    own = vllm_arguments("x", {"max_position_embeddings": 9}, 8, "auto", 1, {"tensor_parallel_size": 2}).keys()
    assert own - named == {"hf_overrides"}, "not lm-eval's: it hands them to vLLM"
    assert init.args.kwarg is not None
    assert "hf_overrides" in fake_vllm.PUBLISHED


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--scheme", "dynamic-yarn:factor=4"], "scheme 'dynamic-yarn' on llama has no words"),
        (["--backend-args", "max_model_len=9"], "--backend-args max_model_len: --lengths says it"),
        (["--passkey", "64"], "--backend vllm asks no --passkey: take the task rope_passkey"),
        (["--text", __file__], "--backend vllm scores no --text"),
        (["--device", "cuda:1"], "takes its GPUs from CUDA_VISIBLE_DEVICES"),
    ],
)
def test_what_cannot_be_served_is_refused_and_nothing_is_written(
    checkpoint: str, tmp_path: Path, arguments: list[str], told: str
) -> None:
    asked = ["--tasks", "rope_passkey", "--lengths", f"{LENGTH}", "--backend", "vllm", "-o", str(tmp_path / "RUN")]
    refused = evaluate(checkpoint, *asked, *arguments)
    assert refused.exit_code == 1
    assert told in " ".join(refused.output.split())
    assert not (tmp_path / "RUN").exists()


def test_without_vllm_nothing_is_written(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    asked = ["--tasks", "rope_passkey", "--lengths", f"{LENGTH}", "--backend", "vllm", "-o", str(tmp_path / "RUN")]
    assert "vLLM is not installed: pip install" in evaluate(checkpoint, *asked).output
    assert not (tmp_path / "RUN").exists()


def test_a_backend_that_is_not_known_is_refused(checkpoint: str) -> None:
    asked = ["--tasks", "rope_passkey", "--lengths", "300"]
    assert "unknown --backend 'vlm' (hf, vllm)" in evaluate(checkpoint, *asked, "--backend", "vlm").output
    assert "--backend-args are for --backend vllm" in evaluate(checkpoint, *asked, "--backend-args", "a=1").output


def test_ctrl_c_leaves_with_a_line_on_how_to_go_on(
    checkpoint: str, vllm: type[fake_vllm.LLM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(vllm, "_answer", interrupted)
    asked = ["--tasks", "rope_passkey", "--lengths", f"{LENGTH}", "--backend", "vllm", "-o", str(tmp_path / "RUN")]
    stopped = evaluate(checkpoint, *asked)
    assert stopped.exit_code == 130
    assert "stopped; nothing was computed yet, the same command begins again" in stopped.output
