"""The credential of a runner: the agent draws a token, and what passes through the cluster is its digest.

`agents/claims.py` writes the digest into a RunnerClaim, the operator into the runner's arguments, and
`runners/server.py` compares. No Secret carries it, so nobody needs the right to read one.
"""

import hashlib


def token_digest(token: str) -> str:
    """What a token is known by. A token of 128 random bits or more cannot be found from it."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()
