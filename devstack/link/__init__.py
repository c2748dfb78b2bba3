"""A link to test against: a rate-limited, counting TCP relay and the judgement of what passed it."""
