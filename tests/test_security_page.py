"""SECURITY.md: every claim has tests that exist, and what it says of the code is so."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
CLAIMS = re.findall(r"^\| (?!claim )([^|\n]+) \| ([^|\n]+) \|$", PAGE, re.MULTILINE)
PACKAGES = ("orchestrator", "search_spaces", "trainables")
RUNS_CODE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code", "runpy", "subprocess", "pty"}
ASKS_SERVERS = {
    *("urllib.request", "urllib.error", "http.client", "urllib3", "requests"),
    *("httpx", "ftplib", "smtplib", "xmlrpc", "telnetlib"),
}
FETCHES_SETS = "orchestrator/public_sets/remote.py"
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "spawnv", "execv", "unsafe_load", "full_load"}


def named(tests: str) -> list[tuple[Path | None, list[str]]]:
    """Each test that a row names, as its file and the names within."""
    found: list[tuple[Path | None, list[str]]] = []
    for test in re.findall(r"`([^`]+)`", tests):
        file, *names = test.split("::")
        files = [ROOT / file] if "/" in file else list((ROOT / "tests").rglob(file))
        found.append((files[0] if len(files) == 1 and files[0].exists() else None, names))
    return found


def defined(file: Path, names: list[str]) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for name in names:
        found = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
        if not found:
            return False
        body = found[0].body
    return bool(names) and names[-1].startswith("test_")


def test_the_page_has_claims() -> None:
    assert len(CLAIMS) > 25
    assert PAGE.count("| claim | tests |") == 4


@pytest.mark.parametrize(("claim", "tests"), CLAIMS, ids=[claim[:50] for claim, _ in CLAIMS])
def test_every_claim_has_tests_that_exist(claim: str, tests: str) -> None:
    assert named(tests)
    for file, names in named(tests):
        assert file is not None, f"{claim}: a file of {tests} does not exist, or there are several"
        assert defined(file, names), f"{claim}: {'::'.join(names)} is not in {file.name}"


def modules() -> list[Path]:
    return [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]


def test_no_module_can_run_what_it_reads() -> None:
    wrong = [f"{file.name}: {name}" for file in modules() for name in imported(file) if name in RUNS_CODE]
    for file in modules():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                wrong += [f"{file.name}:{node.lineno}: {found}" for found in unsafe(node)]
    assert wrong == []


def test_one_module_asks_other_servers() -> None:
    asking = {str(file.relative_to(ROOT)) for file in modules() if ASKS_SERVERS.intersection(imported(file))}
    assert asking == {FETCHES_SETS}
    using = {
        str(file.relative_to(ROOT))
        for file in modules()
        if any(name.startswith("orchestrator.public_sets") for name in imported(file))
    }
    assert {name for name in using if "/public_sets/" not in name} == {"orchestrator/cli/data_commands.py"}


def imported(file: Path) -> list[str]:
    """Full names of the modules that a file imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return names


def unsafe(call: ast.Call) -> list[str]:
    """Why a call could run what it reads."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    owner = getattr(getattr(call.func, "value", None), "id", None)
    options = {option.arg: ast.unparse(option.value) for option in call.keywords}
    builtin = (owner is None and isinstance(call.func, ast.Name)) or owner in ("os", "yaml", "builtins")
    if name in CALLS and builtin:
        return [name]
    if name == "load" and owner == "torch" and options.get("weights_only") != "True":
        return ["torch.load"]
    if options.get("allow_pickle") == "True" or options.get("trust_remote_code") == "True":
        return ["allow_pickle"]
    return ["shell"] if options.get("shell") == "True" else []


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)",
        "os.system(x)",
        "yaml.unsafe_load(x)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "run(x, shell=True)",
    ],
)
def test_each_way_to_run_what_is_read_is_seen(text: str) -> None:
    (node,) = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert unsafe(node)


@pytest.mark.parametrize("text", ["net.eval()", "re.compile(x)", "torch.load(x, weights_only=True)", "np.load(x)"])
def test_what_only_looks_alike_is_fine(text: str) -> None:
    (node,) = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not unsafe(node)


def test_readme_links_the_page() -> None:
    assert "[SECURITY.md](SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_of_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / target).exists(), target
