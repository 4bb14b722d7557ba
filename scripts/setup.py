#!/usr/bin/env python3
# ruff: noqa: E402  the version check must come before anything that an older Python cannot read
"""Set up all that `make demo` and `make test` need: `make setup` runs this file, with nothing but the standard library.

Three steps, each done only when it is not finished yet:

1. a virtual environment in `.venv`, also where `ensurepip` is missing;
2. this package in it, editable, with its development extra and the solver of the mapper;
3. the programs and the cell library that come from Debian or Ubuntu packages: installed by apt when this user is root
   or has sudo without a password, otherwise downloaded by apt and unpacked into the user's cache, with small start
   scripts. The library is always unpacked, because its package would install some 200 others. What cannot be had is
   reported as skipped, with the reason and the remedy, and is no failure: the steps that need it are skipped later.

Environment: `SPIKELOOM_WITH=chromium` also gets the browser in which a test opens the report (CI always does);
`SPIKELOOM_ROOTLESS=1` never installs a system package, even as root; `SPIKELOOM_CACHE` moves `~/.cache/spikeloom`.
"""

import os
import shutil
import sys

if sys.version_info < (3, 11):  # noqa: UP036  this very check is why
    for _newer in ("python3.14", "python3.13", "python3.12", "python3.11"):
        if shutil.which(_newer):
            os.execvp(_newer, [_newer] + sys.argv)
    _this = f"{sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}"
    sys.exit(f"error: Python 3.11 or later is needed; {_this}. Name a newer one: make setup PYTHON=python3.12")

import argparse
import fcntl
import functools
import hashlib
import importlib.util
import json
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "rtl"))

from spikeloom import tools  # standard library only, by design

STAMP = ".spikeloom-setup.json"
"""Inside the virtual environment: what was finished, so that it is not done again."""

PACKAGES = {
    "g++": "g++",
    "make": "make",
    "perl": "perl",
    "iverilog": "iverilog",
    "libpython": f"libpython{sys.version_info.major}.{sys.version_info.minor}",
    "sta": "opensta",
    "osu018": "qflow-tech-osu018",
    "ngspice": "ngspice",
    "chromium": "chromium",
}
"""The Debian and Ubuntu package of each tool that comes from there."""

UNPACKABLE = ("iverilog", "libpython", "sta", "osu018", "ngspice")
"""The tools that run (or, a library, are read) from a folder of the user's."""

OLDER_SUITE = {"debian": ("bookworm", "main"), "ubuntu": ("jammy", "main universe")}
"""The release, and its components, that still has what later ones dropped: Debian 13 has no qflow-tech-osu018, Ubuntu
24.04 neither that nor opensta. Their packages unpack and run on the later release."""


class SetupError(Exception):
    """A step cannot be done; the message says why and what to do."""


# --- running programs ------------------------------------------------------------------------------------------------


def run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program quietly; its return code and output (both streams, in order) are in the result."""
    return subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        check=False,
        text=True,
        errors="replace",
    )


def run_long(
    what: str, command: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that takes its time: its output goes to `log`, a terminal sees the seconds pass."""
    begin = time.monotonic()
    log_begin = log.stat().st_size if log.exists() else 0
    with log.open("a") as stream:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    if sys.stdout.isatty():
                        print(f"\r  {what}: {time.monotonic() - begin:.0f} s", end="", flush=True)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    print(f"  {what}: {'done' if code == 0 else 'failed'} after {time.monotonic() - begin:.0f} s", flush=True)
    with log.open(errors="replace") as stream:
        stream.seek(log_begin)
        return subprocess.CompletedProcess(list(map(str, command)), code, stream.read())


def last_lines(text: str, count: int = 3) -> str:
    """Return the end of a program's output, on one line, for a message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-count:]) or "no output"


# --- apt -------------------------------------------------------------------------------------------------------------


@functools.cache
def administrator() -> tuple[str, ...] | None:
    """Return what to put before a command to run it as root: nothing, sudo, or None when neither is allowed."""
    if os.environ.get("SPIKELOOM_ROOTLESS"):
        return None
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo") and run(["sudo", "-n", "true"]).returncode == 0:
        return ("sudo", "-n")
    return None


def has_apt() -> bool:
    """Say whether this system has apt and dpkg."""
    return all(shutil.which(program) for program in ("apt-get", "apt-cache", "dpkg-deb"))


def candidates(policy: str) -> set[str]:
    """Return the packages that apt can install, from the output of `apt-cache policy`."""
    found, package = set(), ""
    for line in policy.splitlines():
        if line and not line[0].isspace():
            package = line.removesuffix(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            found.add(package)
    return found


def known_packages(packages: Sequence[str]) -> dict[str, str]:
    """Return the exact name of each package that apt can install (Ubuntu 24.04 renamed many libraries to ...t64)."""
    known = candidates(run(["apt-cache", "policy", *packages, *(f"{name}t64" for name in packages)]).stdout)
    exact = {name: next((one for one in (name, f"{name}t64") if one in known), None) for name in packages}
    return {name: one for name, one in exact.items() if one}


def install_packages(packages: Sequence[str], log: Path) -> dict[str, str]:
    """Install packages by apt as root; return why, for each that could not be."""
    prefix = administrator()
    if prefix is None or not has_apt():
        return dict.fromkeys(packages, why_not_installed())
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
    updated = False

    def update() -> None:
        nonlocal updated
        if not updated:
            run_long("apt-get update", [*apt, "update"], log)
            updated = True

    def install(names: Sequence[str]) -> str | None:
        command = [*apt, "install", "-y", "--no-install-recommends", *names]
        done = run_long(f"apt-get install {' '.join(names)}", command, log)
        return last_lines(done.stdout) if done.returncode else None

    # Only exact names may reach `apt-get install`: one that it does not know, such as g++, it takes for a pattern.
    known = known_packages(packages)
    if len(known) < len(packages):  # no package lists yet, as in a fresh container, or it is not there at all
        update()
        known = known_packages(packages)
    reasons = {name: f"this release has no package {name}" for name in packages if name not in known}
    names = list(known.values())
    if names and install(names):
        update()  # old lists name files that the archive no longer has
        reason = install(names)
        if reason and len(names) > 1:  # one broken package must not keep the others away
            found = {name: install([exact]) for name, exact in known.items()}
            reasons |= {name: reason for name, reason in found.items() if reason}
        elif reason:
            reasons |= dict.fromkeys(known, reason)
    return reasons


def why_not_installed() -> str:
    """Return why nothing can be installed by apt here."""
    return "neither root nor sudo without a password" if has_apt() else "this system has no apt"


def simulated_packages(output: str) -> list[str]:
    """Return the packages that `apt-get --simulate install` would install."""
    return [line.split()[1] for line in output.splitlines() if line.startswith("Inst ")]


def older_suite_source(targets: str, system: str, codename: str) -> str | None:
    """Return apt source lines for this release and for the older one that `OLDER_SUITE` names, or None.

    Parameters
    ----------
    targets
        Output of `apt-get indextargets`, one `release uri signed_by` a line: the archive's address comes from there.
    system, codename
        `ID` and `VERSION_CODENAME` of /etc/os-release.
    """
    older, components = OLDER_SUITE.get(system, (codename, ""))
    if older == codename:
        return None
    for line in targets.splitlines():
        release, _, rest = line.partition(" ")
        uri, _, key = rest.partition(" ")
        if release == codename and uri:
            # Without a key file in the sources, apt prints the name of the variable; its own keys serve then.
            option = f"[signed-by={key}] " if key.startswith("/") else ""
            return "\n".join(f"deb {option}{uri} {suite} {components}" for suite in (codename, older))
    return None


def os_release(text: str) -> dict[str, str]:
    """Return the assignments of an /etc/os-release file."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: " ".join(shlex.split(value)) for key, _, value in pairs}


def private_apt_options(folder: Path, source: str | None = None) -> list[str]:
    """Return the options with which apt keeps its lists in a folder of the user's, for a source of its own if given."""
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    if source:
        (folder / "sources.list").write_text(source + "\n")
        options += ["-o", f"Dir::Etc::sourcelist={folder / 'sources.list'}", "-o", "Dir::Etc::sourceparts=-"]
    return options


def merge_tree(source: Path, target: Path) -> None:
    """Move every file of `source` into `target`, each as a whole."""
    for folder, folders, files in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in files + links:
            place = here / name
            if place.is_dir() and not place.is_symlink():
                continue  # a folder stays where a later package has a link to one
            os.replace(Path(folder) / name, place)


def unpack_package(package: str, cache: Path, *, with_dependencies: bool) -> str | None:
    """Download a package by apt, and what it needs and this system has not; unpack all into the user's cache.

    Returns why that failed, or None. The system's package lists are used where they know the package; otherwise lists
    of the user's own are fetched, and if this release has it not, those of an older one (`forget_lists` removes them).
    """
    if not has_apt():
        return "this system has no apt"
    options: list[str] = []
    reason = _download_and_unpack(package, cache, options, with_dependencies)
    has_lists = any(Path("/var/lib/apt/lists").glob("*_Packages*"))
    if reason and (not has_lists or known_packages([package])):
        # No lists, as in a fresh container, or ones so old that the archive has moved on: get some of the user's own.
        options = _private_lists(cache / "apt" / "own", None)
        reason = _download_and_unpack(package, cache, options, with_dependencies)
    if reason:
        release = os_release(Path("/etc/os-release").read_text()) if Path("/etc/os-release").exists() else {}
        # apt tells the archive's address only of lists that are there.
        fields = "$(RELEASE) $(REPO_URI) $(SIGNED_BY)"
        targets = run(["apt-get", *options, "indextargets", "--format", fields, "Created-By: Packages"]).stdout
        older = older_suite_source(targets, release.get("ID", ""), release.get("VERSION_CODENAME", ""))
        if older:
            options = _private_lists(cache / "apt" / "older", older)
            reason = _download_and_unpack(package, cache, options, with_dependencies)
    return reason


def _private_lists(folder: Path, source: str | None) -> list[str]:
    fresh = not folder.exists()
    options = private_apt_options(folder, source)
    if fresh:
        print(f"  fetching package lists ({folder.name})", flush=True)
        run(["apt-get", *options, "update"])  # a failure shows in the download
    return options


def forget_lists(cache: Path) -> None:
    """Remove the package lists that `unpack_package` fetched: the next set-up wants new ones."""
    for name in ("own", "older"):
        shutil.rmtree(cache / "apt" / name, ignore_errors=True)


def _download_and_unpack(package: str, cache: Path, options: list[str], with_dependencies: bool) -> str | None:
    packages = [package]
    if with_dependencies:
        simulation = run(["apt-get", *options, "--simulate", "--no-install-recommends", "install", package])
        if simulation.returncode:
            return last_lines(simulation.stdout, 1)
        # A package that is installed already (yet not found, so perhaps on another machine's disk) is not listed.
        packages = simulated_packages(simulation.stdout) or packages
    (cache / "apt").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack.", dir=cache / "apt") as folder:
        command = shlex.join(["apt-get", *options, "download", *packages])
        done = run(["sh", "-c", f"cd {shlex.quote(folder)} && {command}"])
        archives = sorted(Path(folder).glob("*.deb"))
        if done.returncode or not archives:
            return last_lines(done.stdout, 1)
        for archive in archives:
            done = run(["dpkg-deb", "-x", archive, Path(folder) / "root"])
            if done.returncode:
                return last_lines(done.stdout, 1)
        merge_tree(Path(folder) / "root", cache / "apt" / "root")
    return None


def wrapper_text(program: Path, arguments: Sequence[str], environment: dict[str, str]) -> str:
    """Return the shell script that starts an unpacked program with the options and variables that it needs there.

    A value that ends in `:` is put before what the variable already holds.
    """
    lines = ["#!/bin/sh", "# Made by `make setup`: starts a program that was unpacked, not installed."]
    for variable, value in environment.items():
        if value.endswith(":"):
            lines.append(f'{variable}={shlex.quote(value[:-1])}"${{{variable}:+:${variable}}}"')
        else:
            lines.append(f"{variable}={shlex.quote(value)}")
        lines.append(f"export {variable}")
    lines.append(f'exec {shlex.join([str(program), *arguments])} "$@"')
    return "\n".join(lines) + "\n"


def write_wrappers(cache: Path) -> list[Path]:
    """Write a start script into the cache's `bin` for each program that was unpacked; return them."""
    root = cache / "apt" / "root"
    libraries = sorted({str(path.parent) for path in root.glob("**/lib/*/*.so*") if path.parent.name != "ivl"})
    environment = {"LD_LIBRARY_PATH": ":".join(libraries) + ":"} if libraries else {}
    ivl = next(iter(sorted(root.glob("usr/lib/*/ivl")) + sorted(root.glob("usr/lib/ivl"))), None)
    tcl = next(iter(sorted(root.glob("usr/share/tcltk/tcl8*"))), None)
    wanted: list[tuple[str, list[str], dict[str, str]]] = []
    if ivl:
        # iverilog and vvp look for their parts where the package would have put them: -B and -M say where they are.
        wanted += [("iverilog", ["-B", str(ivl)], environment), ("vvp", ["-M", str(ivl)], environment)]
    wanted.append(("sta", [], {**environment, **({"TCL_LIBRARY": str(tcl)} if tcl else {})}))
    wanted.append(("ngspice", [], environment))  # its start-up file and code models are not used
    written = []
    for name, arguments, variables in wanted:
        program = root / "usr" / "bin" / name
        if program.exists():
            script = cache / "bin" / name
            script.parent.mkdir(parents=True, exist_ok=True)
            temporary = script.with_name(f".{name}.{os.getpid()}")
            temporary.write_text(wrapper_text(program, arguments, variables))
            temporary.chmod(0o755)
            os.replace(temporary, script)
            written.append(script)
    return written


# --- step 1: the virtual environment ---------------------------------------------------------------------------------


def has_pip(python: Path | str) -> bool:
    """Say whether an interpreter runs and has pip."""
    try:
        return run([python, "-m", "pip", "--version"]).returncode == 0
    except OSError:
        return False


def _checked(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
    done = run(command, environment)
    if done.returncode:
        raise SetupError(last_lines(done.stdout))


def _by_venv(folder: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise SetupError("this Python has no ensurepip (Debian and Ubuntu: package python3-venv)")
    _checked([sys.executable, "-m", "venv", folder])


def _by_own_pip(folder: Path) -> None:
    if not has_pip(sys.executable):
        raise SetupError("this Python has no pip")
    _checked([sys.executable, "-m", "venv", "--without-pip", folder])
    _checked([sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "pip"])


def _by_virtualenv(folder: Path) -> None:
    if importlib.util.find_spec("virtualenv"):
        _checked([sys.executable, "-m", "virtualenv", folder])
    elif shutil.which("virtualenv"):
        _checked(["virtualenv", "-p", sys.executable, folder])
    elif shutil.which("uv"):
        _checked(["uv", "venv", "--seed", "--python", sys.executable, folder])
    elif has_pip(sys.executable):
        with tempfile.TemporaryDirectory() as target:
            _checked([sys.executable, "-m", "pip", "install", "--target", target, "virtualenv"])
            _checked([sys.executable, "-m", "virtualenv", folder], {"PYTHONPATH": target})
    else:
        raise SetupError("neither virtualenv nor uv is installed")


def _by_apt_wheel(folder: Path) -> None:
    # Debian and Ubuntu keep the wheel that ensurepip would unpack in a package of its own, and a wheel of pip can run.
    # It goes where it leaves nothing behind: the cache's own tree is for tools.
    with tempfile.TemporaryDirectory() as cache:
        reason = unpack_package("python3-pip-whl", Path(cache), with_dependencies=False)
        if reason:
            raise SetupError(reason)
        wheels = sorted((Path(cache) / "apt" / "root" / "usr" / "share" / "python-wheels").glob("pip-*.whl"))
        if not wheels:
            raise SetupError("package python3-pip-whl holds no wheel of pip")
        _checked([sys.executable, "-m", "venv", "--without-pip", folder])
        _checked([folder / "bin" / "python", wheels[-1] / "pip", "install", "--no-index", wheels[-1]])


def _by_apt_install(folder: Path) -> None:
    if Path(sys.executable).resolve().parent != Path("/usr/bin"):
        raise SetupError("this Python is not the system's, so no system package can help it")
    with tempfile.TemporaryDirectory() as logs:
        for reason in install_packages(["python3-venv"], Path(logs) / "apt.log").values():
            raise SetupError(reason)
    _checked([sys.executable, "-m", "venv", folder])


VENV_WAYS: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("python -m venv", _by_venv),
    ("venv, with the pip of this Python", _by_own_pip),
    ("virtualenv", _by_virtualenv),
    ("venv, with the pip of package python3-pip-whl", _by_apt_wheel),
    ("apt-get install python3-venv", _by_apt_install),
)
"""How a virtual environment can be made, in the order in which it is tried: what changes the system comes last."""


def make_environment(folder: Path, ways: Iterable[tuple[str, Callable[[Path], None]]] = VENV_WAYS) -> str:
    """Make a virtual environment with pip in `folder`; return the way that worked.

    Raises
    ------
    SetupError
        If no way works; the message lists each with its reason. Also if `folder` holds something else.
    """
    if folder.exists() and not (folder / "pyvenv.cfg").is_file() and any(folder.iterdir()):
        raise SetupError(f"{folder}: exists and is not a virtual environment; move it away")
    reasons = []
    for name, way in ways:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            way(folder)
            if has_pip(folder / "bin" / "python"):
                return name
            reasons.append(f"  {name}: pip does not run in it")
        except SetupError as error:
            reasons.append(f"  {name}: {error}")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    shutil.rmtree(folder, ignore_errors=True)
    raise SetupError(
        "no virtual environment can be made:\n" + "\n".join(reasons) + "\n"
        "any one of these helps: an administrator's `apt-get install python3-venv`; a Python that has pip or "
        "virtualenv (name it: make setup PYTHON=/path/to/python3)"
    )


# --- step 2: the stamp and the packages ------------------------------------------------------------------------------


def content_key(root: Path = ROOT) -> str:
    """Return what a finished set-up depends on: pyproject.toml, this file, and where the project is."""
    digest = hashlib.sha256(str(root).encode())
    for name in ("pyproject.toml", "scripts/setup.py"):
        digest.update(b"\0" + (root / name).read_bytes())
    return digest.hexdigest()


def read_stamp(environment: Path) -> dict[str, object]:
    """Return what the stamp says, or nothing when there is none or it cannot be read."""
    try:
        stamp = json.loads((environment / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(environment: Path, key: str, looked_for: Iterable[str]) -> None:
    """Record that the packages are installed for this key and that these tools were looked for."""
    temporary = environment / (STAMP + ".tmp")
    temporary.write_text(json.dumps({"key": key, "looked_for": sorted(looked_for)}) + "\n")
    os.replace(temporary, environment / STAMP)


def environment_works(environment: Path) -> bool:
    """Say whether the environment's Python runs and finds the package (a Python upgrade can break that)."""
    python = environment / "bin" / "python"
    return python.exists() and run([python, "-c", "import spikeloom, amaranth"]).returncode == 0


# --- step 3: the tools -----------------------------------------------------------------------------------------------


def wanted_tools() -> list[str]:
    """Return the tools of `PACKAGES` that this set-up gets: the browser only on request and in CI."""
    request = os.environ.get("SPIKELOOM_WITH", "").replace(",", " ").split()
    unknown = sorted(set(request) - {"chromium"})
    if unknown:
        raise SetupError(f"SPIKELOOM_WITH={' '.join(request)}: {unknown[0]} is not known; accepted: chromium")
    return [name for name in PACKAGES if name != "chromium" or name in request or os.environ.get("CI")]


def get_tools(names: Sequence[str], log: Path) -> dict[str, str]:
    """Get what is missing of the tools; return why, for each that still is."""

    def missing() -> list[str]:
        tools.forget_versions()
        return [name for name in names if tools.find_tool(name) is None]

    cache = tools.cache_folder()
    # The system's library fits only the system's Python.
    hopeless = {} if Path(sys.base_prefix) == Path("/usr") else {"libpython": f"{sys.base_prefix} has none"}
    reasons = dict(hopeless)
    install = [name for name in missing() if name != "osu018" and name not in hopeless]
    if install:
        failed = install_packages([PACKAGES[name] for name in install], log)
        reasons |= {name: failed[PACKAGES[name]] for name in install if PACKAGES[name] in failed}
    forget_lists(cache)
    for name in missing():
        if name in UNPACKABLE and name not in hopeless:
            print(f"  unpacking {PACKAGES[name]} into {cache}", flush=True)
            reason = unpack_package(PACKAGES[name], cache, with_dependencies=name != "osu018")
            write_wrappers(cache)
            reasons |= {name: reason} if reason else {}
    forget_lists(cache)
    return {name: reasons.get(name, "it was got, but does not run here") for name in missing()}


# --- all of it -------------------------------------------------------------------------------------------------------


def set_up(environment: Path, *, if_needed: bool) -> None:
    """Do what is not finished; with `if_needed`, nothing at all when everything was done or tried before.

    Raises
    ------
    SetupError
        If there is no environment or the packages cannot be installed.
    """
    key, wanted, stamp = content_key(), wanted_tools(), read_stamp(environment)
    looked_for = stamp.get("looked_for")
    finished = stamp.get("key") == key and environment_works(environment)
    if finished and if_needed and isinstance(looked_for, list) and set(wanted) <= set(looked_for):
        return
    python, log = environment / "bin" / "python", environment / "setup.log"
    if not finished:
        print(f"Setting up in {environment} (this is done once)", flush=True)
        if not (environment / "pyvenv.cfg").is_file() or not has_pip(python):
            print(f"  virtual environment: {make_environment(environment)}", flush=True)
        install = [python, "-m", "pip", "install", "--editable", f"{ROOT}[dev,map]"]
        done = run_long("Python packages", install, log, {"LC_ALL": "C.UTF-8"})
        if done.returncode:
            raise SetupError(f"the Python packages cannot be installed: {last_lines(done.stdout, 6)}; all of it: {log}")
    skipped = get_tools(wanted, log)
    for name in wanted:
        found = tools.find_tool(name)
        if found:
            print(f"  found    {name} {found.version}: {found.path}")
    for name, reason in skipped.items():
        print(f"  skipped  {skipped_line(name, reason)}")
    write_stamp(environment, key, wanted)
    print("Set-up is complete" + (f", without {', '.join(skipped)}" if skipped else ""), flush=True)


def skipped_line(name: str, reason: str) -> str:
    """Return what to tell a user of a tool that this set-up could not get."""
    tool = next(tool for tool in tools.TOOLS if tool.name == name)
    how = tool.how_to_get.removeprefix("`make setup`, or ")
    return f"{name}: {reason}; how to get it: {how}; needed by: {tool.needed_by}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the set-up; return the exit code: 0 good, 2 bad input, 3 when it cannot be done here."""
    parser = argparse.ArgumentParser(description="Set up Spikeloom: virtual environment, packages, tools.")
    parser.add_argument("--if-needed", action="store_true", help="do nothing when it was done before")
    options = parser.parse_args(arguments)
    try:
        with Path(__file__).open() as lock:  # two `make` at once: the second waits, then finds it all done
            fcntl.flock(lock, fcntl.LOCK_EX)
            set_up(ROOT / ".venv", if_needed=options.if_needed)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\ninterrupted; the next run goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
