"""The tree of errors: its branches are classes, and its docstring draws what there is."""

import re

import pytest

from gateway import errors
from gateway.backends.upstream_errors import error_from_response
from gateway.errors import GatewayError, UpstreamFailure
from tests.support.error_classes import error_classes

BRANCH = re.compile(r"^[├└]── (\w+) ")


def drawn() -> dict[str, set[str]]:
    """What the module's docstring draws: branch -> its errors."""
    tree: dict[str, set[str]] = {}
    for line in (errors.__doc__ or "").partition("\nGatewayError\n")[2].splitlines():
        if found := BRANCH.match(line):
            names = tree[found[1]] = set[str]()
            line = line.partition(":")[2]  # noqa: PLW2901
        names |= set(re.findall(r"[A-Z]\w+", line))
    return tree


def test_the_docstring_draws_the_branches_and_their_errors() -> None:
    branches = {branch.__name__: branch for branch in GatewayError.__subclasses__()}
    assert drawn() == {name: {error.__name__ for error in error_classes(branch)} for name, branch in branches.items()}


@pytest.mark.parametrize("status", [401, 403, 404, 422, 424, 429, 500, 503])
def test_whatever_fails_upstream_is_caught_as_such(status: int) -> None:
    with pytest.raises(UpstreamFailure):
        raise error_from_response(status, {}, b"", None)


def test_no_two_errors_share_a_code_unless_one_is_the_others_kind() -> None:
    codes: dict[str, list[type[GatewayError]]] = {}
    for error in error_classes():
        codes.setdefault(error.code, []).append(error)
    shared = {code: {error.__name__ for error in found} for code, found in codes.items() if len(found) > 1}
    assert shared == {
        "invalid_request": {"InvalidRequest", "UnreadableRequest"},
        "upstream_unavailable": {"UpstreamUnavailable", "ConnectionRefused"},
    }
