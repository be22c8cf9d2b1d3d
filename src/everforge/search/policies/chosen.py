"""The policy of each kind; the only file that knows them all."""

from everforge.model.search_settings import PolicyKind
from everforge.search.policies.base import Policy
from everforge.search.policies.greedy import GreedyPolicy
from everforge.search.policies.map_elites import MapElitesPolicy
from everforge.search.policies.tree import TreePolicy


def policy_of(kind: PolicyKind) -> Policy:
    """The policy of a kind, with the constants of its file."""
    policies: dict[PolicyKind, Policy] = {
        PolicyKind.GREEDY: GreedyPolicy(),
        PolicyKind.MAP_ELITES: MapElitesPolicy(),
        PolicyKind.TREE: TreePolicy(),
    }
    return policies[kind]
