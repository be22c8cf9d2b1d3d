"""Names, labels and annotations of everything the operator makes.

A name is a function of what the object stands for, so that making it twice is making it once: an operator that
was killed after a write finds, at its next start, that the write was done.
"""

from everforge.model.base import digest_of

GROUP = "everforge.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "everforge-operator"

ROLE = f"{GROUP}/role"
OPTIMIZATION = f"{GROUP}/optimization"
POOL = f"{GROUP}/device-pool"
CLAIM_UID = f"{GROUP}/claim-uid"
ATTEMPT = f"{GROUP}/attempt"
SPEC = f"{GROUP}/spec"
HOST = "kubernetes.io/hostname"
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"

# The key of an LlmSpec's Secret that holds the model's key, and those of a TaskSource's that hold a login.
API_KEY = "api-key"
LOGIN_KEYS = ("task-username", "task-password")

AGENT = "agent"
RUNNER = "runner"

# Pods carry their Job's name in a label, and label values end at 63 characters.
MAX_NAME = 63
HASH_CHARACTERS = 10


def short_hash(*parts: str) -> str:
    """Ten hexadecimal characters that tell lists of texts apart: two in 10,000 meet once in 20,000 tries."""
    return digest_of(list(parts)).removeprefix("sha256:")[:HASH_CHARACTERS]


def bounded(stem: str, *identity: str) -> str:
    """A name of at most 63 characters: as much of the stem as fits, then the hash of stem and identity."""
    ending = short_hash(stem, *identity)
    head = stem[: MAX_NAME - len(ending) - 1].rstrip("-.").replace(".", "-")
    return f"{head}-{ending}"


def agent_name(optimization: str, uid: str, pool: str, spec: str, attempt: int) -> str:
    """The Job, and the ConfigMap beside it, of one attempt to run one campaign as one spec asks."""
    return bounded(optimization, uid, pool, spec, str(attempt))


def runner_name(claim: str, claim_uid: str, attempt: int) -> str:
    """The Job of one attempt to serve a claim."""
    return bounded(claim, claim_uid, str(attempt))
