"""A device that lacks epoch keys asks for them (crypto design 2.12); any member's device that has them may answer.

```
request = PAE("key-request", mesh_id, device, first_epoch, spk, tip, bad_seal) || sig by device
```

The answer is an epoch seal to the prekey in the request: the asker believes its keys only by the chain's commitments,
so it does not matter who answers, and a removed device is answered by nobody who holds its removal.
"""

from dataclasses import dataclass

from mesh_protocol.ids import DEVICE_ID_SIZE, MESH_ID_SIZE, DeviceId, MeshId
from mesh_protocol.keys import SIGNATURE_SIZE, BadPeerKey, SignedPrekey, SigningKey, verify, verify_prekey
from mesh_protocol.members import ChainState
from mesh_protocol.pae import MAX_INT, BadEncoding, pae, read_u64, require_number, require_size, split_signed, u64
from mesh_protocol.seals import BadEpochKey, EpochSeal, MeshKeys, seal_keys
from mesh_protocol.tip import HASH_SIZE, TipRef

_FIELDS = 6
MAX_KEY_REQUEST = 1024


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """`device` lacks the keys from `first_epoch` on; they are to be sealed to `spk`.

    `bad_seal` is the SHA-256 of an encoded seal that did not open or did not match, or empty: a signer who hears of
    one begins a new epoch.
    """

    mesh_id: MeshId
    device: DeviceId
    first_epoch: int
    spk: SignedPrekey
    tip: TipRef
    bad_seal: bytes

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_number(self.first_epoch, 1, MAX_INT, "first_epoch")
        if self.bad_seal:
            require_size(self.bad_seal, HASH_SIZE, "bad_seal")

    def bytes(self) -> bytes:
        """The PAE that is signed."""
        return pae(
            "key-request",
            self.mesh_id,
            self.device,
            u64(self.first_epoch),
            self.spk.encode(),
            self.tip.encode(),
            self.bad_seal,
        )


def sign_key_request(request: KeyRequest, key: SigningKey) -> bytes:
    """The request as it travels. Raises BadPeerKey when `key` or the prekey is another device's or mesh's."""
    if request.device != key.public:
        raise BadPeerKey("a key request is signed by the device it names")
    verify_prekey(request.spk, request.mesh_id, request.device)
    signed = request.bytes()
    return signed + key.sign(signed)


def open_key_request(data: bytes, state: ChainState) -> KeyRequest:
    """The request of an active device of this mesh, verified. Raises BadEncoding, BadPeerKey or BadSignature."""
    if len(data) > MAX_KEY_REQUEST:
        raise BadEncoding(f"a key request of {len(data)} bytes is above the {MAX_KEY_REQUEST} allowed")
    fields, signed, signature = split_signed(data, "key-request", _FIELDS, SIGNATURE_SIZE)
    mesh_id, device, first_epoch, spk, tip, bad_seal = fields
    request = KeyRequest(
        MeshId(mesh_id),
        DeviceId(device),
        read_u64(first_epoch),
        SignedPrekey.decode(spk),
        TipRef.decode(tip),
        bad_seal,
    )
    if request.mesh_id != state.mesh_id or not state.is_active(request.device):
        raise BadPeerKey("a key request of a device that is none of this mesh's")
    verify(request.device, signed, signature)
    verify_prekey(request.spk, request.mesh_id, request.device)
    return request


def answer_key_request(request: KeyRequest, state: ChainState, keys: MeshKeys, tip: TipRef) -> EpochSeal:
    """Our keys from the epoch asked for on, sealed to the asker. Raises BadEpochKey when we have none of them.

    Asked again at the moment of answering: the device must be active on `state`, else BadPeerKey.
    """
    if not state.is_active(request.device):
        raise BadPeerKey("a device that was removed is sent no keys")
    asked = {epoch: key for epoch, key in keys.epochs.items() if epoch >= request.first_epoch}
    if not asked:
        raise BadEpochKey("none of the keys asked for are held here")
    return seal_keys(state.mesh_id, max(asked), request.spk, MeshKeys(keys.name_key, asked), tip)
