"""This program shows: what another user of the machine sees of the Ray that `rllib train` starts, and can call of it.

How to run:
    python benchmarks/shared_machine.py            # as root, to look as somebody else; half a minute

It starts Ray as the command does, under a umask that lets everybody read and write, and looks as another user
(`nobody`): can the token be read, can the folder of the session be entered, can its sockets be connected to. Then it
lists every port on which a process of that Ray listens, its address, and what a call without the token is answered.

Results to expect: nothing can be read, entered or connected to; all ports are on the loopback address; every call is
refused, but for ports named in the table. The program ends with code 1 if a port listens elsewhere.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import pwd
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import ray
from studies import RESULTS, made_with, markdown

from rllib_biac.experiments.cluster import start_here

# One call of each service: it changes nothing.
CALLS = {
    "gcs_server": "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "raylet": "/ray.rpc.NodeManagerService/GetNodeStats",
    "raylet's objects": "/ray.rpc.ObjectManagerService/FreeObjects",
    "worker": "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
}


def connect(path: str) -> str:
    """Connects to a socket."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)
    return "connected"


LOOKS: dict[str, Callable[[str, str], str]] = {
    "read the token": lambda home, session: f"{len(Path(home, '.ray', 'auth_token').read_text())} letters",
    "list the folder of sessions": lambda home, session: f"{len(os.listdir(Path(session).parents[1]))} entries",
    "list the session": lambda home, session: f"{len(os.listdir(session))} entries",
    "connect to the raylet's socket": lambda home, session: connect(f"{session}/sockets/raylet"),
    "connect to the object store's socket": lambda home, session: connect(f"{session}/sockets/plasma_store"),
}


def as_nobody(look: Callable[[str, str], str], home: str, session: str) -> str:
    """Returns what another user sees, or the error, in a process that has become that user."""
    user = pwd.getpwnam("nobody")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            told = look(home, session)
        except BaseException as error:
            told = f"{type(error).__name__}: {os.strerror(error.errno) if isinstance(error, OSError) else error}"
        os.write(write, told.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return file.read()


def processes() -> dict[int, str]:
    """Returns this process and all that it has started: their numbers and names."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            parents[int(entry.name)], names[int(entry.name)] = int(rest.split()[1]), name
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return {pid: names[pid] for pid in own}


def listening() -> list[tuple[str, int, str]]:
    """Returns address, port and process of every TCP port on which one of these processes waits for calls."""
    owners = {}
    for pid, name in processes().items():
        for fd in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                owners[os.readlink(fd).removeprefix("socket:[").rstrip("]")] = name
            except OSError:
                continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:]):
            if line[3] == "0A" and line[9] in owners:
                address, port = line[1].split(":")
                words = bytes.fromhex(address)
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                one = ipaddress.ip_address(packed)
                found.append((str(getattr(one, "ipv4_mapped", None) or one), int(port, 16), owners[line[9]]))
    return sorted(found, key=lambda row: (row[2], row[1]))


def call(address: str, port: int, name: str) -> str:
    """Returns the answer to a call without the token."""
    host = "127.0.0.1" if ipaddress.ip_address(address).is_unspecified else address
    if "RuntimeEnv" in name or "dashboard" in name.lower():
        request = urllib.request.Request(f"http://{host}:{port}/get_or_create_runtime_env", b"", method="POST")
        try:
            return f"HTTP {urllib.request.urlopen(request, timeout=5).status}"
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code} {error.reason}"
    own = [path for service, path in CALLS.items() if service.startswith(name)] or [CALLS["worker"]]
    answer = "answered"
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for path in own:
            try:
                channel.unary_unary(path)(b"", timeout=5)
                return "answered"
            except grpc.RpcError as error:
                answer = error.code().name
            if answer != "UNIMPLEMENTED":  # else it is another service of this process
                break
    return answer


def main() -> int:
    """Looks, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for name in ("RAY_AUTH_MODE", "RAY_TMPDIR", "RAY_ADDRESS", "RAY_AUTH_TOKEN"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o777)
        os.environ.update(HOME=scratch, TMPDIR="/tmp")
        os.umask(0)
        start_here(1)
        ray.get(ray.remote(lambda: None).remote())
        session = ray._private.worker._global_node.get_session_dir_path()
        looks = [[what, as_nobody(look, scratch, session)] for what, look in LOOKS.items()]
        ports = [(name, address, call(address, port, name)) for address, port, name in listening()]
        ray.shutdown()
    counted = [[*row, str(ports.count(row))] for row in dict.fromkeys(ports)]
    text = [
        "# On a machine with other users",
        "",
        "What another user can do with the Ray that `rllib train` starts, whatever the umask. Made by "
        "`benchmarks/shared_machine.py`.",
        "",
        markdown(["another user tries to", "and gets"], looks),
        "",
        markdown(["process that listens", "address", "a call without the token", "ports"], counted),
        "",
        *made_with("rllib_biac", "ray"),
    ]
    (arguments.out / "shared_machine.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))
    return int(any(not ipaddress.ip_address(address).is_loopback for _, address, _ in ports))


if __name__ == "__main__":
    sys.exit(main())
