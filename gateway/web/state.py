"""What the routes of one app share."""

from dataclasses import dataclass, field

from starlette.requests import Request

from gateway.settings import Settings
from gateway.turns.chat_service import ChatService
from gateway.web.body_budget import BodyBudget


@dataclass(frozen=True)
class State:
    """`app.state.gateway`: `create_app` sets it."""

    chat_service: ChatService
    body_budget: BodyBudget = field(default_factory=BodyBudget)

    @property
    def settings(self) -> Settings:
        return self.chat_service.settings


def get_state(request: Request) -> State:
    state: State = request.app.state.gateway
    return state
