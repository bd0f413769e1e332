"""The documentation site: README, docs/, the result tables and an API reference from docstrings. Run: make docs."""

import shutil
from pathlib import Path

import rllib_biac

# The source folder is the repository's root: links between pages are the same on the site and in the repository.
project = "rllib_biac"
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "benchmarks/results/*.md"]
exclude_patterns = ["build"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "rllib_biac"

myst_heading_anchors = 3  # links such as method.md#partial-observability, as on a forge
myst_enable_extensions = ["attrs_inline"]
suppress_warnings = ["misc.highlighting_failure"]  # blocks of console output are no code

default_role = "code"  # docstrings write `name`, as Markdown does
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # attributes with defaults would be described twice
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "NDArray": "NDArray"}

# The pages in the order of the menu.
MENU = {
    "Start": [
        "getting_started",
        "tutorial",
        "games",
        "your_own_game",
        "highway",
        "configuration",
        "own_networks",
        "sweeps",
        "how_long",
        "does_not_learn",
        "deployment",
    ],
    "Understand": ["method", "theory", "baselines", "reproducing", "results", "limits"],
    "Run for long": ["reliability", "cluster"],
    "Reference": ["api"],
}
# The public modules, in the order of the API reference.
MODULES = [
    "rllib_biac",
    "rllib_biac.execution",
    "rllib_biac.equilibria",
    "rllib_biac.envs",
    "rllib_biac.evaluation",
    "rllib_biac.walk",
    "rllib_biac.learning.algorithm",
    "rllib_biac.learning.settings",
    "rllib_biac.learning.team",
    "rllib_biac.learning.losses",
    "rllib_biac.learning.trainer",
    "rllib_biac.learning.sampler",
    "rllib_biac.rllib.register",
]

# The package imports algorithms when they are asked for; autodoc lists only what is there.
vars(rllib_biac).update({name: getattr(rllib_biac, name) for name in rllib_biac.__all__})


def _menu() -> str:
    menus = {caption: [f"docs/{page}" for page in pages] for caption, pages in MENU.items()}
    menus["Take part"] = ["CHANGELOG", "CONTRIBUTING"]
    return (
        "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
            for caption, pages in menus.items()
        )
        + "\n```{toctree}\n:hidden:\n:glob:\n:caption: Tables\n\nbenchmarks/results/*\n```\n"
    )


def _reference() -> str:
    return "".join(f"\n## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n" for name in MODULES)


def _add_generated_parts(app, page, source):
    # README stays free of the generator's markup.
    if page == root_doc:
        source[0] += _menu()
    elif page == "docs/api":
        source[0] += _reference()


def _add_index(app, error):
    if error is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def _escape(app, kind, name, thing, options, lines):
    # Docstrings are plain text with `code`. Outside code, reStructuredText would read |A| and *s as markup.
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [part.replace("|", r"\|").replace("*", r"\*") for part in parts[::2]]
        parts[2::2] = [f"\\ {part}" if part[:1].isalnum() else part for part in parts[2::2]]  # `Name`s
        lines[number] = "`".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", _escape, priority=100)  # before napoleon, whose markup stays
    app.connect("source-read", _add_generated_parts)
    app.connect("build-finished", _add_index)
