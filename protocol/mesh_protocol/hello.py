"""The mutual greeting of a device and a broker (crypto design 2.5).

The broker gives a 32-byte challenge and its key; the device signs the client hello; the broker answers with a hello
signed over the hash of that transcript. No client clock is involved and nothing can be replayed.

Neither hello travels as bytes. Each side builds the other's from what was said and what it knows itself (the broker
its own key and challenge, the device its own transcript), so a hello for another broker, challenge or
transcript fails as a signature.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256

from mesh_protocol.ids import DEVICE_ID_SIZE, MESH_ID_SIZE, DeviceId, MeshId
from mesh_protocol.keys import KEY_SIZE, SIGNATURE_SIZE, BadPeerKey, SigningKey, verify
from mesh_protocol.pae import MAX_INT, BadEncoding, pae, require_number, require_size, u64
from mesh_protocol.tip import HASH_SIZE

CHALLENGE_SIZE = 32
HELLO_NONCE_SIZE = 32
SESSION_ID_SIZE = 16
MAX_VERSION = 65_535


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a device says of itself to the broker of `broker_key`, for one mesh.

    `challenge` is the broker's and `nonce` the device's 32 random bytes; `generation` rises at each daemon start.
    """

    broker_key: bytes
    mesh_id: MeshId
    device: DeviceId
    challenge: bytes
    nonce: bytes
    ver_min: int
    ver_max: int
    generation: int

    def __post_init__(self) -> None:
        require_size(self.broker_key, KEY_SIZE, "broker_key")
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_size(self.challenge, CHALLENGE_SIZE, "challenge")
        require_size(self.nonce, HELLO_NONCE_SIZE, "nonce")
        require_number(self.ver_min, 0, MAX_VERSION, "ver_min")
        require_number(self.ver_max, self.ver_min, MAX_VERSION, "ver_max")
        require_number(self.generation, 0, MAX_INT, "generation")

    def bytes(self) -> bytes:
        """The PAE that is signed."""
        return pae(
            "hello-client",
            self.broker_key,
            self.mesh_id,
            self.device,
            self.challenge,
            self.nonce,
            u64(self.ver_min),
            u64(self.ver_max),
            u64(self.generation),
        )


def sign_client_hello(hello: ClientHello, key: SigningKey) -> bytes:
    """The 64-byte signature of the device (or of an invite's key). Raises BadPeerKey when `key` is another one."""
    if hello.device != key.public:
        raise BadPeerKey("a hello is signed by the device it names")
    return key.sign(hello.bytes())


def verify_client_hello(hello: ClientHello, signature: bytes) -> None:
    """Raises BadSignature unless the device of `hello` signed it.

    `broker_key` and `challenge` in `hello` must be the broker's own, not the client's claim. Whether the device
    belongs to the mesh is a question to the chain.
    """
    verify(hello.device, hello.bytes(), signature)


def transcript_hash(hello: ClientHello, signature: bytes) -> bytes:
    """32 bytes over the client hello and its signature, which the broker's hello names."""
    require_size(signature, SIGNATURE_SIZE, "a signature")
    return sha256(hello.bytes() + signature).digest()


@dataclass(frozen=True, slots=True)
class BrokerHello:
    """The broker's answer: the chosen version, the connection's 16-byte session id, its clock in epoch ms."""

    transcript_hash: bytes
    version: int
    session_id: bytes
    server_ms: int

    def __post_init__(self) -> None:
        require_size(self.transcript_hash, HASH_SIZE, "transcript_hash")
        require_number(self.version, 0, MAX_VERSION, "version")
        require_size(self.session_id, SESSION_ID_SIZE, "session_id")
        require_number(self.server_ms, 0, MAX_INT, "server_ms")

    def bytes(self) -> bytes:
        """The PAE that is signed."""
        return pae("hello-broker", self.transcript_hash, u64(self.version), self.session_id, u64(self.server_ms))


def sign_broker_hello(hello: BrokerHello, broker_key: SigningKey) -> bytes:
    """The 64-byte signature of the broker."""
    return broker_key.sign(hello.bytes())


def verify_broker_hello(
    hello: BrokerHello, signature: bytes, *, client_hello: ClientHello, client_signature: bytes
) -> None:
    """The device's check of the answer to its own hello, against the broker key it pinned there.

    Raises BadEncoding when the broker answers another hello or chose a version that was not offered, BadSignature
    when the answer is forged.
    """
    if hello.transcript_hash != transcript_hash(client_hello, client_signature):
        raise BadEncoding("the broker answers another hello")
    if not client_hello.ver_min <= hello.version <= client_hello.ver_max:
        raise BadEncoding("the broker chose a version that was not offered")
    verify(client_hello.broker_key, hello.bytes(), signature)


def admission_proof(token: bytes, hello: ClientHello) -> bytes:
    """Proof (HMAC-SHA256, 32 bytes) that the device knows the broker's admission token, which is never sent."""
    if not token:
        raise BadEncoding("an admission token must not be empty")
    return hmac.digest(token, hello.bytes(), "sha256")


def verify_admission(token: bytes, hello: ClientHello, proof: bytes) -> bool:
    """Whether `proof` is the one for `token` and `hello`; compared in constant time."""
    return hmac.compare_digest(admission_proof(token, hello), proof)
