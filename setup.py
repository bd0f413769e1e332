"""Packages, dependencies and the `rllib` command.

The name, the version and the Pythons are in pyproject.toml, with the settings of tools. The versions that the tests run
with are in constraints.txt.
"""

from setuptools import find_packages, setup

setup(
    description="Leader-follower (Stackelberg) multi-agent reinforcement learning for RLlib",
    keywords=["reinforcement learning", "multi-agent", "Stackelberg", "RLlib", "PettingZoo"],
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    # `envs` and `tuned_examples` lie beside the package and are linked into it, so that one layout serves the checkout,
    # the editable install and the wheel. With this `package_dir` an editable install is a path and no import hook; type
    # checkers read paths, and no hooks.
    package_dir={"": "."},
    packages=find_packages(include=["rllib_biac", "rllib_biac.*"]),
    package_data={
        "rllib_biac": ["py.typed"],
        "rllib_biac.report": ["page.html"],
        "rllib_biac.tuned_examples": ["*.yaml", "sweeps/*.yaml"],
    },
    install_requires=[
        "ray[rllib]>=2.55,<2.61",  # the library this one plugs into; its internals differ by minor version
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
        "tqdm>=4.60",  # the bar that shows in a terminal how far training is
        "PyYAML>=6",  # experiment files
        "filelock>=3.12",  # one command at a time in a run's folder; ray brings it
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
            "coverage>=7.10",  # which lines tests run, in Ray's workers too; mutants are drawn from these lines
            "hypothesis",  # thousands of bad inputs, from a description of each kind
            "optuna>=4",  # the tests of `search_alg: optuna`
            "moto[s3]>=5",  # a bucket on this machine, for runs whose results lie in one
            "flask",  # moto's server needs it
            "flask-cors",  # and this
            "pytest-xdist",  # two processes for the tests; `-n 0` for one
            "pytest-timeout",  # a hung worker fails its test instead of the whole run
            "ruff",  # lint
            "mypy",  # types
            "types-PyYAML",  # types of PyYAML, for mypy
        ],
    },
    entry_points={"console_scripts": ["rllib=rllib_biac.cli:start"]},
)
