"""Metadata, dependencies and the `rllib` command.

Tool settings are in pyproject.toml, the versions that the tests run with in constraints.txt.
"""

from pathlib import Path

from setuptools import find_packages, setup

# Folders that live beside the package in the repository and inside it once installed.
MAPPED = {"rllib_biac.envs": "envs", "rllib_biac.tuned_examples": "tuned_examples"}

setup(
    name="rllib_biac",
    version="0.1.0",
    description="Leader-follower (Stackelberg) multi-agent reinforcement learning for RLlib",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["reinforcement learning", "multi-agent", "Stackelberg", "RLlib", "PettingZoo"],
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.12",
    packages=[
        *find_packages(include=["rllib_biac", "rllib_biac.*"]),
        *MAPPED,
        *(f"rllib_biac.envs.{name}" for name in find_packages("envs")),
    ],
    package_dir=MAPPED,
    package_data={
        "rllib_biac": ["py.typed"],
        "rllib_biac.report": ["page.html"],
        "rllib_biac.tuned_examples": ["*.yaml", "sweeps/*.yaml"],
    },
    install_requires=[
        "ray[rllib]==2.60.*",  # the library this one plugs into; its internals differ by minor version
        "torch>=2.4",  # networks and their gradients
        "gymnasium",  # spaces (ray pins the version)
        "pettingzoo>=1.27",  # the multi-agent game interface, its conformance tests
        "highway-env==1.12.1",  # the cars of the Highway Merge game; our batched twin equals this version bit for bit
        "numpy>=2",  # batched games, replay
        "scipy>=1.11",  # exact game theory (linear programmes), statistics of the benchmarks
        "safetensors>=0.5",  # weights and policies to give away: files in which nothing can be executed
        "pillow>=10",  # writes the GIF of a rendered episode
        "matplotlib>=3.8",  # phase diagrams and curves
        "jinja2>=3.1",  # the HTML page of `rllib report`; escapes whatever stands in result files
        "tensorboard>=2.15",  # Ray Tune's TensorBoard logger writes with it, and people look at curves with it
        "click>=8",  # the command line
        "PyYAML>=6",  # experiment files
    ],
    extras_require={
        "onnx": [
            "onnx>=1.16",  # the file format of StackelbergPolicy.export_onnx
            "onnxscript",  # torch.onnx translates programs with it
            "onnxruntime",  # runs the files; the tests hold them equal to the policy
        ],
        "optuna": [
            "optuna>=4",  # `search_alg: optuna` of an experiment file, through Ray Tune
        ],
        "docs": [
            "sphinx>=8",  # makes the site and the API reference; its strict mode fails on dead links
            "myst-parser>=4",  # pages stay Markdown
            "furo",  # a plain theme
        ],
        "test": [
            "pytest>=8",
            "hypothesis",  # thousands of bad inputs, from a description of each kind
            "optuna>=4",  # the tests of `search_alg: optuna`
            "pytest-timeout",  # a hung worker fails its test instead of the whole run
            "ruff",  # lint
            "mypy",  # types
            "types-PyYAML",  # types of PyYAML, for mypy
        ],
    },
    entry_points={"console_scripts": ["rllib=rllib_biac.cli.main:main"]},
)
