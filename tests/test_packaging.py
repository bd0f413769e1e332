"""How the library is installed: pins, supported Pythons, and the scripts behind `make`, run with fake interpreters."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TOOLS = ["awk", "cat", "cksum", "cp", "cut", "dirname", "false", "grep", "mkdir", "rm", "sed", "sh", "true"]

# Answers as Python would, as far as the scripts ask, and writes down what pip was told.
PYTHON = r"""#!/bin/sh
case "$*" in
*"-m pip --version") echo "pip {pip} from somewhere" ;;
*"-m pip "*)
    echo "${{*#*-m pip }}" >>"$CALLS"
    {on_install}
    ;;
"-m venv "*)
    {on_venv}
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*ensurepip*) echo "Python {version}" ;;
*sys.executable*) echo "$0" ;;
*sys.version*) echo "{version}.1" ;;
*) exit 9 ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """A machine with a clone in a folder with a space, an empty home, and no Python but those that a test installs."""
    machine = Machine(tmp_path / "new comer")
    machine.clone.mkdir(parents=True)
    machine.home.mkdir()
    machine.bin.mkdir()
    for name in TOOLS:
        (machine.bin / name).symlink_to(shutil.which(name))
    shutil.copytree(ROOT / "tools", machine.clone / "tools")
    for name in ("constraints.txt", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, machine.clone)
    return machine


class Machine:
    """See the fixture."""

    def __init__(self, place: Path):
        self.clone, self.home, self.bin, self.calls = place / "clone", place / "home", place / "bin", place / "calls"

    def script(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, path, version, pip="24.0", on_install="", on_venv=""):
        text = PYTHON.format(version=version, pip=pip, on_install=on_install or ":", on_venv=on_venv or ":")
        return self.script(self.bin / path, text)

    def run(self, *command, **env):
        """Runs a script of tools/ and returns its exit code, output and messages."""
        env = {"PATH": str(self.bin), "HOME": str(self.home), "CALLS": str(self.calls), **env}
        argv = [str(self.clone / "tools" / command[0]), *command[1:]]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, cwd=self.home)

    def installed(self, *command, **env):
        """Runs tools/environment, which must succeed, and returns what pip was told meanwhile."""
        self.calls.unlink(missing_ok=True)
        done = self.run("environment", *command, **env)
        assert done.returncode == 0, done.stderr
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line.replace(" --quiet", "") for line in lines]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


class TestMetadata:
    def test_uv_is_given_the_pins_of_constraints_txt(self):
        lines = (ROOT / "constraints.txt").read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert project()["tool"]["uv"]["constraint-dependencies"] == pins, (
            "write the pins of constraints.txt into [tool.uv] of pyproject.toml, in the same order"
        )

    def test_supported_pythons_are_the_same_everywhere(self):
        line = next(x for x in (ROOT / "tools/find_python").read_text().splitlines() if x.startswith("supported="))
        versions = line.split('"')[1].split()
        minors = [int(version.split(".")[1]) for version in versions]
        assert minors == list(range(minors[0], minors[-1] + 1))
        assert project()["project"]["requires-python"] == f">=3.{minors[0]},<3.{minors[-1] + 1}"
        setup = (ROOT / "setup.py").read_text()
        assert [f"Python :: 3.{minor}" in setup for minor in range(8, 20)] == [m in minors for m in range(8, 20)]

    def test_the_citation_is_of_this_version(self):
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
        about = project()["project"]
        assert (citation["version"], citation["license"]) == (about["version"], about["license"])
        names = [author["family-names"] for author in citation["preferred-citation"]["authors"]]
        assert names == ["Zhang", "Chen", "Huang", "Li", "Yang", "Zhang", "Wang"]
        assert citation["preferred-citation"]["title"] in (ROOT / "README.md").read_text()

    def test_commits_are_linted_with_the_pinned_version(self):
        hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
        (ruff,) = (repo for repo in hooks["repos"] if "ruff" in repo["repo"])
        assert f"ruff=={ruff['rev'].removeprefix('v')}\n" in (ROOT / "constraints.txt").read_text()

    def test_the_workflow_runs_the_ci_script(self):
        (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
        assert ".ci/run" in [step.get("run") for step in job["steps"]]
        assert os.access(ROOT / ".ci/run", os.X_OK)


class TestFindPython:
    def test_a_command_that_lies_is_passed_over(self, machine):
        machine.script(
            machine.bin / "python3.11", "#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2\nexit 127\n"
        )
        machine.python("python3.12", "3.9")
        good = machine.python("python3", "3.13")
        done = machine.run("find_python")
        assert (done.returncode, done.stdout) == (0, f"{good}\n")

    def test_the_same_command_later_on_path_is_tried(self, machine):
        machine.script(machine.bin / "python3.11", "#!/bin/sh\nexit 127\n")
        good = machine.python("later on/python3.11", "3.11")
        done = machine.run("find_python", PATH=f"{machine.bin}:{good.parent}")
        assert done.stdout == f"{good}\n"

    def test_preference(self, machine):
        machine.python("python3.13", "3.13")
        machine.python("python3", "3.11")
        twelve = machine.python("python3.12", "3.12")
        assert machine.run("find_python").stdout == f"{twelve}\n"
        assert machine.run("find_python", "3.13").stdout == f"{machine.bin}/python3.13\n"

    def test_versions_of_pyenv_are_found(self, machine):
        good = machine.python(machine.home / ".pyenv/versions/3.13.0/bin/python3.13", "3.13")
        assert machine.run("find_python").stdout == f"{good}\n"

    def test_too_old_and_too_new(self, machine):
        machine.python("python3", "3.9")
        machine.python("python", "3.14")
        done = machine.run("find_python")
        assert done.returncode == 1
        assert "no Python 3.11, 3.12 or 3.13 here" in done.stderr
        assert f"{machine.bin}/python3: Python 3.9" in done.stderr
        assert f"{machine.bin}/python: Python 3.14" in done.stderr

    def test_none_at_all(self, machine):
        done = machine.run("find_python")
        assert done.returncode == 1 and "Tried" not in done.stderr and "Install Python 3.11" in done.stderr

    def test_without_venv(self, machine):
        machine.python("python3.11", "3.11 without the module venv")
        done = machine.run("find_python")
        assert done.returncode == 1
        assert "python3.11: Python 3.11 without the module venv" in done.stderr
        assert "sudo apt install python3-venv" in done.stderr


class TestEnvironment:
    def test_made_once_and_the_command_runs_inside(self, machine):
        machine.python("python3.11", "3.11")
        show = ("sh", "-c", 'command -v python; echo "$VIRTUAL_ENV"; pwd')
        done = machine.run("environment", *show)
        venv = machine.clone / ".venv"
        assert done.stdout.splitlines()[-3:] == [f"{venv}/bin/python", str(venv), str(machine.clone)]
        assert machine.calls.read_text() == "install --quiet -c constraints.txt -e .\n"
        assert machine.installed("true") == []
        assert machine.run("environment", "false").returncode == 1

    def test_test_extra(self, machine):
        machine.python("python3.11", "3.11")
        assert machine.installed("true") == ["install -c constraints.txt -e ."]
        assert machine.installed("--test", "true") == ["install -c constraints.txt -e .[test]"]
        assert machine.installed("--test", "true") == []
        assert machine.installed("true") == []

    @pytest.mark.parametrize("change", ["constraints.txt", "pyproject.toml", "setup.py", "python", "unfinished"])
    def test_made_again(self, machine, change):
        machine.python("python3.11", "3.11")
        machine.installed("true")
        mark = machine.clone / ".venv/mark"
        mark.touch()
        if change == "python":
            machine.python(machine.clone / ".venv/bin/python", "3.12")
        elif change == "unfinished":
            (machine.clone / ".venv/rllib_biac.stamp").write_text("unfinished\n")
        else:
            with (machine.clone / change).open("a") as file:
                file.write("# another line\n")
        assert machine.installed("true") == ["install -c constraints.txt -e ."]
        assert not mark.exists()

    def test_without_cuda(self, machine):
        machine.python("python3.11", "3.11")
        torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
        assert machine.installed("true", CPU="1") == [
            f"install --index-url https://download.pytorch.org/whl/cpu {torch}",
            "install -c constraints.txt -e .",
        ]

    def test_an_old_pip_is_upgraded_first(self, machine):
        machine.python("python3.11", "3.11", pip="21.2.4")
        assert machine.installed("true") == ["install --upgrade pip", "install -c constraints.txt -e ."]

    def test_the_active_environment_is_used(self, machine):
        active = machine.python("mine/bin/python", "3.12").parents[1]
        (active / "mark").touch()
        assert machine.installed("true", VIRTUAL_ENV=str(active)) == ["install -c constraints.txt -e ."]
        assert machine.installed("true", VIRTUAL_ENV=str(active)) == []
        (machine.clone / "constraints.txt").write_text("torch==2.13.1\n")
        assert machine.installed("true", VIRTUAL_ENV=str(active)) == ["install -c constraints.txt -e ."]
        assert (active / "mark").exists() and not (machine.clone / ".venv").exists()

    def test_the_active_environment_is_too_old(self, machine):
        machine.python("python3.11", "3.11")
        active = machine.python("mine/bin/python", "3.9").parents[1]
        done = machine.run("environment", "true", VIRTUAL_ENV=str(active))
        assert done.returncode == 1
        assert f"{active}/bin/python: Python 3.9" in done.stderr and "deactivate" in done.stderr

    def test_an_environment_of_somebody_else_is_kept(self, machine):
        machine.python("python3.11", "3.11")
        (machine.clone / ".venv").mkdir()
        done = machine.run("environment", "true")
        assert done.returncode == 1 and "not made by this command" in done.stderr
        assert (machine.clone / ".venv").exists()

    def test_no_network(self, machine):
        offline = 'echo "NewConnectionError: Failed to establish a new connection" >&2; exit 1'
        machine.python("python3.11", "3.11", on_install=offline)
        done = machine.run("environment", "true")
        assert done.returncode == 1 and "Is this machine online?" in done.stderr
        # What was half made is made anew.
        machine.python("python3.11", "3.11")
        assert machine.installed("true") == ["install -c constraints.txt -e ."]

    def test_pip_fails_for_another_reason(self, machine):
        machine.python("python3.11", "3.11", on_install='echo "no space left" >&2; exit 1')
        done = machine.run("environment", "true")
        assert done.returncode == 1 and "pip could not install" in done.stderr and "online" not in done.stderr

    def test_venv_fails(self, machine):
        machine.python("python3.11", "3.11", on_venv="echo 'no space left' >&2; exit 1")
        done = machine.run("environment", "true")
        assert done.returncode == 1 and "could not make a virtual environment" in done.stderr
        assert not (machine.clone / ".venv").exists()


class TestMerge:
    @pytest.fixture
    def trained(self, machine):
        machine.python("python3.11", "3.11")
        machine.installed("true")
        return lambda code: machine.script(
            machine.clone / ".venv/bin/rllib", f'#!/bin/sh\necho "rllib $*"\nexit {code}\n'
        )

    def test_says_what_to_type_next(self, machine, trained):
        trained(0)
        lines = machine.run("merge").stdout.splitlines()
        assert lines[0] == "rllib train file tuned_examples/merge_biac.yaml"
        assert lines[3].split("#")[0].split() == [".", ".venv/bin/activate"]
        active = machine.run("merge", VIRTUAL_ENV=str(machine.clone / ".venv")).stdout
        assert "activate" not in active and "rllib evaluate ~/ray_results/merge_biac --render-to merge.gif" in active

    def test_says_nothing_after_a_failure(self, machine, trained):
        trained(3)
        done = machine.run("merge")
        assert done.returncode == 3 and done.stdout == "rllib train file tuned_examples/merge_biac.yaml\n"
