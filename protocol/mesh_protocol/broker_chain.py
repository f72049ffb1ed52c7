"""The broker's words for membership chains: appending, reading, other histories, and the epoch seals beside them."""

from mesh_protocol.broker_api import Bytes32, Count, Done, TipAnswer
from mesh_protocol.op import Answer, Request, Tier, op


@op(
    "chain.append",
    answer=TipAnswer,
    tier=Tier.AGENT,
    errors=("chain_conflict", "chain_invalid", "not_allowed", "too_large", "rate_limited", "storage_full"),
)
class ChainAppend(Request, frozen=True):
    """Append records in one commit if the chain still ends with `previous`.

    Body: items of two: items of the records, items of the epoch seals that belong to them.
    """

    mesh: Bytes32
    previous: Bytes32


class ChainAnswer(Answer, frozen=True):
    """Body: items, the records in order. `more` says that another read is needed."""

    more: bool


@op("chain.read", answer=ChainAnswer, tier=Tier.STATUS, errors=("not_allowed",))
class ChainRead(Request, frozen=True):
    """Records of the chain after the first `after` ones, as many as fit a frame. For members and open invites."""

    mesh: Bytes32
    after: Count


class BranchesAnswer(Answer, frozen=True):
    """Body: items, the records. `more` says that another read is needed."""

    more: bool


@op("chain.branches", answer=BranchesAnswer, tier=Tier.AGENT, errors=("not_allowed",))
class ChainBranches(Request, frozen=True):
    """Records of other histories that lie beside the chain, by number and hash, after the first `after` ones."""

    mesh: Bytes32
    after: Count


@op(
    "chain.branch",
    answer=TipAnswer,
    tier=Tier.AGENT,
    errors=("chain_invalid", "not_allowed", "too_large", "rate_limited", "storage_full"),
)
class ChainBranch(Request, frozen=True):
    """Show the broker a history that it has forgotten. Body: items, linked records; `tip` is encoded, signed by this very
    broker, and names the last of them. The answer's tip is of the chain that counts then.

    Such a mesh is frozen until a resolve is appended: `chain.append` then takes nothing else, and takes that on the head of
    either history.
    """

    mesh: Bytes32
    tip: bytes


class SealsAnswer(Answer, frozen=True):
    """Body: items, the encoded seals."""

    count: int


@op("seals.read", answer=SealsAnswer, tier=Tier.AGENT)
class SealsRead(Request, frozen=True):
    """The epoch seals that lie here for the calling device."""

    mesh: Bytes32


@op("seals.ack", answer=Done, tier=Tier.AGENT)
class SealsAck(Request, frozen=True):
    """The seals of epochs up to `epoch` are kept by the calling device; the broker may drop them."""

    mesh: Bytes32
    epoch: Count
