"""azd's preprovision hook: make the secret that signs conversations, CONVERSATION_KEYS, once for an environment."""
# ruff: noqa: T201  it talks to whoever runs azd

import os
import secrets
import subprocess
import sys


def main() -> None:
    if os.environ.get("CONVERSATION_KEYS"):
        return
    if os.environ.get("CI"):
        sys.exit(
            "keys: CONVERSATION_KEYS is not set. Made here, it would be another one at each run, and end every "
            "conversation.\nNext: `azd provision` on your machine makes it, `azd pipeline config` brings it here."
        )
    command = ["azd", "env", "set", "CONVERSATION_KEYS", secrets.token_urlsafe(32)]
    subprocess.run(command, check=True)  # noqa: S603  our own words
    print("keys: CONVERSATION_KEYS is made, and kept in this azd environment (docs/security.md: how to rotate it)")


if __name__ == "__main__":
    main()
