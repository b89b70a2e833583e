"""azd's preprovision hook: make the secret that signs conversations, CONVERSATION_KEYS, once for a deployment.

A second key ends every conversation. So none is made where there was one that is only not here: in CI, and on a second
machine (`azd env refresh` brings the outputs of the deployment, such as its address, but no setting).
"""
# ruff: noqa: T201  it talks to whoever runs azd

import os
import secrets
import sys

from azd_env import MADE_HERE, fingerprint, set_value


def main() -> None:
    if os.environ.get("CONVERSATION_KEYS"):
        return
    if os.environ.get("CI"):
        sys.exit(
            "keys: CONVERSATION_KEYS is not set. Made here, it would be another one at each run, and end every "
            "conversation.\nNext: `azd provision` on your machine makes it, `azd pipeline config` brings it here."
        )
    if os.environ.get("AZURE_CHAT_API_URI") or os.environ.get("SERVICE_CHAT_API_RESOURCE_EXISTS") == "true":
        sys.exit(
            "keys: CONVERSATION_KEYS is not set here, but this environment was deployed before. Another key would end "
            "every conversation.\nNext: `azd env get-value CONVERSATION_KEYS` where it was deployed from, and "
            "`azd env set CONVERSATION_KEYS=<that value>` here. If it is lost: "
            '`azd env set CONVERSATION_KEYS="$(openssl rand -hex 32)"`.'
        )
    key = secrets.token_hex(32)
    set_value("CONVERSATION_KEYS", key)
    set_value(MADE_HERE, fingerprint(key))  # check_deployment.py asks Azure whether there is a service already
    print("keys: CONVERSATION_KEYS is made, and kept in this azd environment (docs/security.md: how to rotate it)")


if __name__ == "__main__":
    main()
