"""chat-client.js, by its own tests in Node's runner: tests/browser_client/."""

import subprocess
from pathlib import Path

from tests.support.browsers import program

CLIENT = Path(__file__).parent / "browser_client"
NO_NODE = "No Node was found for the client's tests: `apt-get install nodejs npm`, or any Node from 18 on."


def test_the_browser_client_passes_its_own_tests() -> None:
    node = program("node", NO_NODE)
    files = sorted(str(file) for file in CLIENT.glob("*.test.mjs"))
    ran = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
