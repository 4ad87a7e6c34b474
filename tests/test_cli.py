import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import rope_scaling.eval.fetch
import rope_scaling.eval.harness
from rope_scaling.cli import app
from tests.eval.tiny import TRAINED, tiny_checkpoint, tiny_llama

runner = CliRunner()


def call(*arguments: object) -> Result:
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(chr(97 + i * i % 26) for i in range(700)))
    return path


def test_version_is_printed() -> None:
    assert re.fullmatch(r"rope-scaling \d+\.\d+\.\d+\S*\n", call("--version").output)


def test_help_names_every_command() -> None:
    output = call("--help").output
    assert all(command in output for command in ("inspect", "plot", "fetch", "eval", "lm-eval", "demo"))


def test_eval_prints_a_table_and_writes_a_record(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    schemes = ("--scheme", "none", "--scheme", "linear:factor=2")
    lengths = f"16,{TRAINED},{TRAINED + 640}"
    done = call("eval", checkpoint, "--text", text, *schemes, "--lengths", lengths, "--stride", 8, "-o", run)
    assert done.exit_code == 0, done.output
    assert all(part in done.stdout for part in ("16-32", "linear:factor=2", "window", "Rule:", str(run.name)))
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80  # but for the path of the record
    record = json.loads(run.read_text())
    assert [row["scheme"] for row in record["rows"]] == ["none", "linear:factor=2", "window"]
    assert [part["tokens"] for part in record["rows"][0]["bins"]] == [15, 16, 640]
    assert [len(blocks) for blocks in record["rows"][0]["block_nll"]] == [(TRAINED + 640) // 64]
    assert record["rows"][1]["versus_window"]["verdict"]
    assert record["text"]["tokens"] == TRAINED + 640
    assert record["window"]["stride"] == 8
    assert record["checkpoint"]["original_max_position_embeddings"] == TRAINED


def test_eval_scores_several_stretches_of_a_text(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    def record(file: str, *options: object) -> dict[str, Any]:
        run = tmp_path / file
        done = call("eval", checkpoint, "--lengths", f"{TRAINED},100", *options, "--stride", 8, "-o", run)
        assert done.exit_code == 0, done.output
        return json.loads(run.read_text())

    both = record("both.json", "--text", text, "--texts", 2, "--batch-size", 2)
    second = tmp_path / "second.txt"
    second.write_text(text.read_text()[100:])
    parts = [record("one.json", "--text", text), record("two.json", "--text", second)]
    assert (both["text"]["texts"], both["text"]["tokens"]) == (2, 100)
    for row, *alone in zip(both["rows"], *(part["rows"] for part in parts), strict=True):
        assert [len(row["block_nll"]), row["bins"][0]["tokens"]] == [2, 2 * (TRAINED - 1)]
        expected = [value for one in alone for blocks in one["block_nll"] for value in blocks]
        assert [value for blocks in row["block_nll"] for value in blocks] == pytest.approx(expected, abs=1e-5)


def test_every_stretch_begins_as_the_tokenizer_begins_a_text(tmp_path: Path, text: Path) -> None:
    folder, run = tiny_checkpoint(tmp_path / "bos", bos=True), tmp_path / "run.json"
    done = call("eval", folder, "--text", text, "--texts", 3, "--lengths", "16,32", "--no-window", "-o", run)
    assert done.exit_code == 0, done.output
    model, ids = tiny_llama(), [3 + ord(letter) - 32 for letter in text.read_text()]
    stretches = torch.tensor([[1, *ids[start : start + 31]] for start in (0, 31, 62)])
    with torch.no_grad():
        logits = model(stretches).logits[:, :-1]
    nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), stretches[:, 1:])
    (row,) = json.loads(run.read_text())["rows"]
    mean = sum(part["tokens"] * math.log(part["perplexity"]) for part in row["bins"]) / (3 * 31)
    assert mean == pytest.approx(nll.item(), abs=1e-5)


def test_eval_says_when_the_text_is_too_short_for_all_stretches(checkpoint: Path, text: Path) -> None:
    done = call("eval", checkpoint, "--text", text, "--texts", 8, "--lengths", "100")
    assert done.exit_code == 1
    assert "text.txt has 700 tokens, but --lengths asks for 8 times 100" in done.output


def test_eval_refuses_to_replace_a_record_before_any_work(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text("precious")
    done = call("eval", "no such checkpoint", "--text", text, "--lengths", "16", "-o", run)
    assert done.exit_code == 1
    assert "exists: choose another name, or pass --force" in done.stderr
    assert run.read_text() == "precious"
    assert call("eval", checkpoint, "--text", text, "--lengths", "16", "-o", run, "--force").exit_code == 0
    assert json.loads(run.read_text())["lengths"] == [16]


def test_a_text_too_short_tells_how_many_tokens_it_has(checkpoint: Path, text: Path) -> None:
    done = call("eval", checkpoint, "--text", text, "--lengths", "1k")
    assert done.exit_code == 1
    assert "text.txt has 700 tokens, but --lengths asks for 1024" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scheme", "nkt"), "did you mean 'ntk'"),
        (("--lengths", "2k,1k"), "lengths must rise"),
        (("--no-window", "--chunk", "0", "--lengths", "16"), "chunk must be at least 1"),
        (("--text", "absent.txt"), "rope-scaling fetch paradise-lost"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    checkpoint: Path, text: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = call("eval", checkpoint, "--text", text, "--lengths", "16", *arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_a_text_that_is_not_utf8_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 9)
    done = call("eval", checkpoint, "--text", tmp_path / "latin.txt", "--lengths", "16")
    assert "is not UTF-8 text" in done.stderr


def test_within_the_trained_length_there_is_no_verdict(checkpoint: Path, text: Path) -> None:
    assert "No verdict" in call("eval", checkpoint, "--text", text, "--lengths", "16,32").stdout


def test_a_passkey_is_asked_of_every_scheme_without_truncation(checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    schemes = ("--scheme", "none", "--scheme", "ntk:factor=32")
    done = call("eval", checkpoint, *schemes, "--passkey", "600,700", "-o", run)
    assert done.exit_code == 0, done.output
    assert "passkeys found" in done.stdout
    record = json.loads(run.read_text())
    assert set(record["passkey"]) == {"none", "ntk:factor=32"}
    for result in record["passkey"].values():
        assert [row["length"] for row in result["accuracy"]] == [600, 700]
        assert [row["samples"] for row in result["accuracy"]] == [5, 5]
        assert result["truncated_requests"] == {}
    assert record["passkey"]["ntk:factor=32"]["rope"]["factor"] == 32


def test_nothing_to_measure_is_said(checkpoint: Path, text: Path) -> None:
    assert "nothing to measure" in call("eval", checkpoint).stderr
    assert "--text and --lengths go together" in call("eval", checkpoint, "--text", text).stderr
    assert "at least 1" in call("eval", checkpoint, "--passkey", "600", "--passkey-samples", "0").stderr


def test_windows_keep_the_token_that_a_text_begins_with(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    begins = tiny_checkpoint(tmp_path / "checkpoint", bos=True)
    assert call("eval", begins, "--text", text, "--lengths", "16,64", "-o", run).exit_code == 0
    assert json.loads(run.read_text())["window"]["keeps_bos"] is True


def test_inspect_tells_what_the_rope_is(checkpoint: Path) -> None:
    done = call("inspect", checkpoint)
    assert done.exit_code == 0, done.output
    assert all(part in done.stdout for part in ("RoPE of llama", f"{TRAINED} tokens", "8 / 8", "default"))


def test_inspect_probes_a_loaded_checkpoint(checkpoint: Path) -> None:
    done = call("inspect", checkpoint, "--probe")
    assert done.exit_code == 0, done.output
    assert all(part in done.stdout for part in ("laws of RoPE", "queries and keys", "nothing failed"))


def test_inspect_fails_where_config_and_weights_disagree(checkpoint: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"head_dim": config["head_dim"] // 2}))
    done = call("inspect", broken, "--probe")
    assert done.exit_code == 1
    assert "FAIL" in done.stdout


def test_inspect_reads_a_text_only_to_probe(checkpoint: Path, text: Path) -> None:
    assert "read by --probe" in call("inspect", checkpoint, "--text", text).stderr


def test_plot_writes_a_page(checkpoint: Path, tmp_path: Path) -> None:
    page = tmp_path / "rope.html"
    done = call("plot", checkpoint, "--scheme", "ntk:factor=4", "-o", page)
    assert (done.exit_code, done.stdout) == (0, f"wrote {page}\n"), done.output
    assert "ntk" in page.read_text(encoding="utf-8")
    assert "exists" in call("plot", checkpoint, "-o", page).stderr


def test_fetch_prints_the_path_and_nothing_else_on_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, say: rope_scaling.eval.fetch.Say) -> Path:
        say("downloading")
        return Path("/cache") / name

    monkeypatch.setattr(rope_scaling.eval.fetch, "fetch", fetch)
    done = call("fetch", "smollm2")
    assert (done.stdout, done.stderr) == ("/cache/smollm2\n", "downloading\n")


def test_fetch_suggests_a_name() -> None:
    done = call("fetch", "smolm2")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "did you mean 'smollm2'?" in done.stderr


def test_the_demo_needs_nothing_but_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.chdir(tmp_path)
    done = call("demo", "--lengths", "300,600")
    assert done.exit_code == 0, done.output
    record = json.loads(next((tmp_path / "runs").glob("demo-*.json")).read_text())
    schemes = ["none", "linear:factor=4", "ntk:factor=4", "yarn:factor=4"]
    assert [row["scheme"] for row in record["rows"]] == [*schemes, "window"]
    found = {name: [cell["accuracy"] for cell in result["accuracy"]] for name, result in record["passkey"].items()}
    assert list(found) == schemes
    assert min(found["none"][0], *found["ntk:factor=4"], *found["yarn:factor=4"]) >= 0.9
    assert max(found["linear:factor=4"]) <= 0.1
    assert not (tmp_path / "empty").exists()


def test_the_real_demo_runs_three_schemes_and_writes_under_runs(
    checkpoint: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"smollm2": checkpoint, "tragedies": text}
    monkeypatch.setattr(rope_scaling.eval.fetch, "fetch", lambda name, say: places[name])
    monkeypatch.chdir(tmp_path)
    done = call("demo", "--real", "--lengths", f"{TRAINED},{TRAINED + 96}")
    assert done.exit_code == 0, done.output
    (run,) = (tmp_path / "runs").glob("demo-*.json")
    assert f"runs/{run.name}" in done.stdout
    rows = [row["scheme"] for row in json.loads(run.read_text())["rows"]]
    assert rows == ["none", "ntk:factor=2", "yarn:factor=2", "window"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        [
            "--model",
            "rope-hf",
            "--model_args",
            "pretrained=x,scheme=yarn",
            "--tasks",
            "rope_passkey",
            "--limit=2",
            "-q",
        ],
        ["run", "--version", "a b"],
    ],
)
def test_lm_eval_gets_every_argument_untouched(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[list[str]] = []
    monkeypatch.setattr(rope_scaling.eval.harness, "main", got.append)
    assert call("lm-eval", *arguments).exit_code == 0
    assert got == [arguments]
