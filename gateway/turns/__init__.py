"""One turn: its deadline, its cleanup, its one ending; and which turns are open on this replica."""
