"""The errors that callers can get, as the class tree has them."""

from gateway.errors import GatewayError


def error_classes(branch: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    """Those with a code, from the branch down."""
    own = [branch] if hasattr(branch, "code") else []
    return own + [error for child in branch.__subclasses__() for error in error_classes(child)]
