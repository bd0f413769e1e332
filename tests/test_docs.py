"""README and the pages of docs/: links, code blocks, length, the list of algorithms."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# A comment before a block says that it is a part of a program, which cannot run by itself.
PART = "<!-- part of a program -->"


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    is_part: bool


def _blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page.name,
            text[: found.start("text")].count("\n") + 1,
            found["language"],
            found["text"],
            bool(found["part"]),
        )
        for found in re.finditer(
            rf"^(?P<part>{re.escape(PART)}\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", text, re.M | re.S
        )
    ]


BLOCKS = [block for page in PAGES for block in _blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
YAML = [block for block in BLOCKS if block.language == "yaml"]


def _place(block: Block) -> str:
    return f"{block.page}:{block.line}"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges and the site make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.is_file() or (anchor and anchor not in _anchors(file)):
            dead.append(target)
    assert not dead


def test_readme_is_short_and_opens_with_the_two_commands():
    assert len(README.read_text(encoding="utf-8").split()) <= 900
    commands = [block.text for block in _blocks(README) if block.language == "bash"]
    assert commands[:2] == ["make merge\n", "make test\n"]


def test_pages_name_no_package_index():
    for page in PAGES:
        assert not re.search(r"pip install [^\n]*rllib_biac\[", page.read_text(encoding="utf-8")), page.name


@pytest.mark.parametrize("block", PYTHON, ids=_place)
def test_python_blocks_compile(block):
    compile(block.text, _place(block), "exec")


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder as the pages suppose it: with the games of docs/your_own_game.md and docs/tutorial.md."""
    (game,) = (block.text for block in PYTHON if "class Doorway" in block.text)
    (tmp_path / "my_game.py").write_text(game, encoding="utf-8")
    (game,) = (block.text for block in PYTHON if "class Door(" in block.text)
    (tmp_path / "door.py").write_text(game, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_packaged_game_is_that_of_the_page(reader):
    assert (reader / "my_game.py").read_text() == (ROOT / "tuned_examples" / "doorway.py").read_text()


def _experiments(block: Block) -> dict[str, dict]:
    """The experiments of a block. Keys of an experiment alone are put into one."""
    found = yaml.safe_load(block.text)
    if any(isinstance(each, dict) and "run" in each for each in found.values()):
        return found
    env, levels = ("merge_v0", [["main_0"], ["auxiliary_0"]])
    if "player_0" in block.text:
        env, levels = "escape_v0", [["player_0"], ["player_1"]]
    config = {"hierarchy": levels, **found.pop("config", {})}
    return {"mine": {"run": "BiAC", "env": env, "stop": {"training_iteration": 12}, **found, "config": config}}


# The other files on docs/cluster.md are Ray's and Kubernetes': tests/cluster/test_docs.py.
@pytest.mark.parametrize(
    "block", [block for block in YAML if not re.search("^(cluster_name|kind):", block.text, re.M)], ids=_place
)
def test_experiments_are_accepted(block, reader):
    from rllib_biac.experiments import checks, reading
    from rllib_biac.experiments.resolve import resolve

    experiments = _experiments(block)
    (reader / "mine.yaml").write_text(yaml.safe_dump(experiments), encoding="utf-8")
    drafts = reading.read(reader / "mine.yaml")
    assert [draft.name for draft in drafts] == sorted(experiments)
    for draft in drafts:
        checks.check(draft)
    for package in ("mpe2", "optuna", "mlflow"):
        if package in block.text:
            pytest.importorskip(package)
    for draft in drafts:
        assert resolve(draft).trials


RUN = sorted({block.page for block in PYTHON if not block.is_part})


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_python_blocks_run(page, reader):
    # A reader goes from top to bottom: later blocks use the names of earlier ones.
    program = "\n".join(block.text for block in PYTHON if block.page == page and not block.is_part)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=reader,
        env={**os.environ, "PYTHONPATH": str(reader)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def _table_of_algorithms() -> str:
    from rllib_biac.rllib.registry import ALGORITHMS, config_class

    lines = ["| `run:` | what learns | actions |", "|---|---|---|"]
    for name in ALGORITHMS:
        config = config_class(name)
        learns = config.__doc__.partition("\n")[0].removeprefix("Config of ").removesuffix(".")
        actions = "discrete, continuous" if config.algorithm.settings.continuous_actions else "discrete"
        lines.append(f"| `{name}` | {learns} | {actions} |")
    return "\n".join(lines)


def _rows(page: str) -> set[tuple[str, str]]:
    """The tables of settings on a page: names and defaults, as Python writes them."""
    found, of_settings = set(), False
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        of_settings = line.startswith("| setting | default |") or (of_settings and line.startswith("|"))
        if of_settings and (match := re.match(r"\| (`\w+`(?:, `\w+`)*) \|([^|]*)\|", line)):
            names = re.findall(r"`(\w+)`", match[1])
            values = re.split(r", (?![^\[{]*[\]}])", match[2].strip())
            if len(values) != len(names):  # one for all of them
                values = [match[2].strip()] * len(names)
            found |= {(name, _default(value.strip("`"))) for name, value in zip(names, values, strict=True)}
    return found


def _default(text: str) -> str:
    if text in ("", "none", "all") or text.startswith("as "):
        return "None"
    value = yaml.safe_load(text)
    return repr(float(text) if re.fullmatch(r"\d+e-\d+", text) else value)


def test_every_setting_stands_on_its_page_with_its_default():
    from rllib_biac.learning.settings import Settings
    from rllib_biac.rllib.registry import ALGORITHMS, config_class

    everywhere, pages = vars(Settings()), {name: _rows(name) for name in ("configuration.md", "baselines.md")}
    for name in ALGORITHMS:
        own = vars(config_class(name).algorithm.settings())
        page = "configuration.md" if name == "BiAC" else "baselines.md"
        for key, value in own.items():
            if key == "model_config" or (name != "BiAC" and key in everywhere and value == everywhere[key]):
                continue
            if name == "BiLevelQ" and key in ("lr_fade", "averaging", "bound_values", "normalize_targets"):
                continue  # tables have none of these
            same = {text for other, text in pages[page] if other == key}
            assert same & {repr(value), repr(int(value)) if isinstance(value, float) else ""}, (name, key, value)


def test_table_of_algorithms_is_that_of_the_registry():
    assert _table_of_algorithms() in (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
