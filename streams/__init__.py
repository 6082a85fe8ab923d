"""The wire: events, topics, agents, state, on-call, metrics."""
