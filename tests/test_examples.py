"""The examples and the documentation's snippets, run: from a shell, from Python, from pages of another origin."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from gateway.app import create_app
from tests.support.browsers import OLDER_BROWSER, absent, browsing, program, visiting
from tests.support.callers import foundry
from tests.support.servers import serving

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
FRONTEND = ROOT / "tests" / "nextjs_example"
CLIENT = [ROOT / "gateway" / "page" / name for name in ("chat-client.js", "chat-client.d.ts")]
CLIENTS = (ROOT / "docs" / "clients.md").read_text()
SNIPPETS = re.findall(r"```js\n(.*?)```", CLIENTS, re.DOTALL)
README = ROOT / "README.md"
NO_NODE = "No npm was found for the Next.js example: `apt-get install nodejs npm`."
REFUSED = ("blocked by CORS policy", "net::ERR_FAILED")
TYPESCRIPT = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "lib": ["es2022", "dom", "dom.iterable"],
        "module": "esnext",
        "moduleResolution": "bundler",
        "jsx": "react-jsx",
        "types": ["react"],
    },
    "files": ["ChatBox.tsx", "process.d.ts"],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


@contextmanager
def another_origin(folder: Path) -> Generator[str]:
    with serving(Starlette(routes=[Mount("/", StaticFiles(directory=folder, html=True))])) as origin:
        yield origin


@contextmanager
def service_for(emulator: str, *origins: str) -> Generator[str]:
    with serving(create_app(foundry(emulator, allowed_origins=origins))) as url:
        yield url


def copied(folder: Path, *files: Path) -> Path:
    for file in files:
        shutil.copy(file, folder)
    return folder


def ask(page: Page, message: str) -> None:
    page.get_by_label("Your message").fill(message)
    page.get_by_role("button", name="Send").click()


def test_curl_holds_a_conversation(emulator: str) -> None:
    curl = program("curl", "No curl was found for its example: `apt-get install curl`.")
    with service_for(emulator) as url:
        environment = {"PATH": f"{Path(curl).parent}:{os.environ['PATH']}", "CHAT_API_URL": url}
        script = EXAMPLES / "curl.sh"
        said = subprocess.run(["sh", script], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert said.stderr == ""
    assert said.stdout.count('"type": "done"') == 2
    assert "Earlier you said: \\u201cMy name is Zo\\u00eb.\\u201d" in said.stdout


def test_python_holds_a_conversation_and_says_what_fails(emulator: str) -> None:
    def run(*messages: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(EXAMPLES / "python_client.py"), *messages]
        environment = {**os.environ, "CHAT_API_URL": url, "PYTHONIOENCODING": "utf-8"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    with service_for(emulator) as url:
        said = run("My name is Zoë.", "What is my name?")
        failed, refused = run("[fail] Hello"), run("[filter] Hello")
    assert (said.returncode, said.stderr) == (0, "")
    assert "Earlier you said: “My name is Zoë.”" in said.stdout
    assert (failed.returncode, failed.stdout) == (1, "## Hello from")
    assert failed.stderr == "The agent could not finish its answer. Please try again.\n"
    assert refused.stderr == "The content filter refused this message. Please put it differently.\n"


@pytest.mark.parametrize("script", ["", OLDER_BROWSER], ids=["newest", "older"])
def test_a_plain_page_of_an_allowed_origin_streams_and_remembers(
    browser: Browser, emulator: str, tmp_path: Path, script: str
) -> None:
    copied(tmp_path, EXAMPLES / "plain" / "index.html", CLIENT[0])
    with (
        another_origin(tmp_path) as origin,
        service_for(emulator, origin) as url,
        visiting(browser, f"{origin}/?api={url}", script=script) as page,
    ):
        ask(page, "My name is Zoë.")
        expect(page.locator("output")).to_contain_text("This is turn 1 of our conversation.")
        ask(page, "What is my name?")
        expect(page.locator("output")).to_contain_text("Earlier you said: “My name is Zoë.”")
        ask(page, "[filter] Hello")
        expect(page.get_by_role("alert")).to_contain_text("The content filter refused this message.")


def test_a_plain_page_of_another_origin_is_refused_before_anything_is_said(
    browser: Browser, emulator: str, tmp_path: Path
) -> None:
    copied(tmp_path, EXAMPLES / "plain" / "index.html", CLIENT[0])
    with (
        another_origin(tmp_path) as origin,
        service_for(emulator, "https://www.example.com") as url,
        visiting(browser, f"{origin}/?api={url}", *REFUSED) as page,
    ):
        ask(page, "Hello!")
        expect(page.get_by_role("alert")).to_have_text("The chat service could not be reached. (network)")
    assert httpx.get(f"{emulator}/_seen").json()["messages"] == []


TRY = """async ([url, credentials]) => {
  const { chat } = await import("/chat-client.js");
  let last;
  try { for await (const event of chat(url, { message: "Hi", credentials })) last = event.type }
  catch (error) { last = error.code }
  return last;
}"""


@pytest.mark.parametrize("named", [True, False])
def test_cookies_go_to_the_service_that_names_the_origin_alone(
    browser: Browser, emulator: str, tmp_path: Path, named: bool
) -> None:
    copied(tmp_path, EXAMPLES / "plain" / "index.html", CLIENT[0])
    with (
        another_origin(tmp_path) as origin,
        service_for(emulator, origin if named else "*") as url,
        visiting(browser, origin, *REFUSED) as page,
    ):
        assert page.evaluate(TRY, [f"{url}/api/chat", "same-origin"]) == "done"
        assert page.evaluate(TRY, [f"{url}/api/chat", "include"]) == ("done" if named else "network")


def snippets() -> list[str]:
    """Those of docs/clients.md, and the README's that are for a browser."""
    readme = README.read_text() if README.exists() else ""
    return [*SNIPPETS, *re.findall(r"```js\n(.*?)```", readme, re.DOTALL)]


@pytest.mark.parametrize("script", ["", OLDER_BROWSER], ids=["newest", "older"])
@pytest.mark.parametrize("snippet", snippets())
def test_a_snippet_of_the_documentation_runs_in_a_page(
    browser: Browser, emulator: str, tmp_path: Path, snippet: str, script: str
) -> None:
    """And in Safari up to 26.6 and Chrome before 124, whose streams are not async iterable (pdf.js#21924)."""
    copied(tmp_path, CLIENT[0])
    (tmp_path / "empty.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    with another_origin(tmp_path) as origin, service_for(emulator, origin) as url:
        (tmp_path / "snippet.js").write_text(snippet.replace("http://127.0.0.1:8000", url))
        with visiting(browser, f"{origin}/empty.html", script=script) as page:
            assert page.evaluate("Symbol.asyncIterator in ReadableStream.prototype") == (not script)
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))
            page.evaluate("import('/snippet.js')")
    answer = "".join(said)
    assert "This is turn 1 of our conversation." in answer
    assert ("Earlier you said: “My name is Zoë.”" in answer) == ("What is my name?" in snippet)


@pytest.mark.parametrize("language", ["go", "python"])
def test_a_reader_with_a_longest_line_reads_a_long_answer_to_its_end(
    emulator: str, tmp_path: Path, language: str
) -> None:
    """`done` repeats the answer on one line: aiohttp's `Chunk too big`, bufio.Scanner's `token too long` (F17)."""
    message = f"[echo] {'好' * 100_000}"
    (snippet,) = re.findall(rf"```{language}\n(.*?)```", CLIENTS, re.DOTALL)
    command = [sys.executable]
    if language == "go":
        command = [shutil.which("go") or pytest.skip("No Go was found: `apt-get install golang-go`."), "run"]
    file = tmp_path / f"client.{language.replace('python', 'py')}"
    with serving(create_app(foundry(emulator, max_message_chars=200_000))) as url:
        file.write_text(snippet.replace("http://127.0.0.1:8000", url).replace("Hello!", message))
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        ran = subprocess.run([*command, file], env=environment, capture_output=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.decode() == message.removeprefix("[echo] ")


def installed() -> Path:
    """The bin folder of tests/nextjs_example, whose packages npm installs once."""
    npm = program("npm", NO_NODE)
    wanted = json.loads((FRONTEND / "package.json").read_text())["dependencies"]
    record = FRONTEND / "node_modules" / ".package-lock.json"
    packages = json.loads(record.read_text())["packages"] if record.exists() else {}
    if any(packages.get(f"node_modules/{name}", {}).get("version") != wanted[name] for name in wanted):
        flags = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        ran = subprocess.run([npm, "install", *flags], cwd=FRONTEND, capture_output=True, timeout=300, check=False)
        if ran.returncode:
            absent("npm could not install tests/nextjs_example/package.json: is a registry reachable?")
    return FRONTEND / "node_modules" / ".bin"


def prepared(folder: Path) -> Path:
    """The component as a frontend would have it: copied, with the client beside it."""
    copied(folder, EXAMPLES / "nextjs" / "ChatBox.tsx", *CLIENT)
    (folder / "process.d.ts").write_text("declare const process: { env: Record<string, string | undefined> };")
    (folder / "tsconfig.json").write_text(json.dumps(TYPESCRIPT))
    (folder / "main.tsx").write_text(
        'import { createRoot } from "react-dom/client";\n'
        'import { ChatBox } from "./ChatBox";\n'
        'createRoot(document.getElementById("root")!).render(<ChatBox />);\n'
    )
    (folder / "index.html").write_text(
        '<!doctype html><link rel="icon" href="data:,">'
        '<div id="root"></div><script type="module" src="main.js"></script>'
    )
    (folder / "node_modules").symlink_to(FRONTEND / "node_modules")
    return folder


@pytest.mark.slow
def test_the_next_js_component_has_the_right_types(tmp_path: Path) -> None:
    tsc = installed() / "tsc"
    ran = subprocess.run(
        [tsc, "--project", prepared(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.stdout == ""
    assert ran.returncode == 0


@pytest.mark.slow
def test_the_next_js_component_chats_stops_and_shows_errors(browser: Browser, emulator: str, tmp_path: Path) -> None:
    esbuild, folder = installed() / "esbuild", prepared(tmp_path)
    with another_origin(folder) as origin, service_for(emulator, origin) as url:
        address = f"--define:process.env.NEXT_PUBLIC_CHAT_API_URL={json.dumps(url)}"
        options = ["--bundle", "--jsx=automatic", "--format=esm", "--log-level=error", f"--outfile={folder}/main.js"]
        production = '--define:process.env.NODE_ENV="production"'
        subprocess.run([esbuild, folder / "main.tsx", *options, address, production], timeout=120, check=True)
        with visiting(browser, origin) as page:
            ask(page, "My name is Zoë.")
            answers = page.locator("li[data-from=agent]")
            expect(answers.last).to_contain_text("Nothing of this came from Azure.")
            ask(page, "[stall] Tell me a story.")
            expect(answers.last).to_have_text("## Hello from")
            page.get_by_role("button", name="Stop").click()
            ask(page, "[fail] What is my name?")
            expect(page.get_by_role("alert")).to_contain_text("The agent could not finish its answer.")
            ask(page, "What is my name?")
            expect(answers.last).to_contain_text("Earlier you said: “My name is Zoë.”")
            expect(page.get_by_role("alert")).to_have_count(0)
