"""After a removal: nothing written by a device that holds it opens for the removed, and no false key is ever taken.

What is written is mail, live frames, and the answers to those who ask for the key, then and after a renewal.

MESH_REMOVALS sets the number of random meshes; 10,000 of them are the full dose.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from chain_actions import Tale
from chain_model import DEVICES, MEMBERS
from mesh_protocol.chain import Body
from mesh_protocol.envelope import Outer, open_envelope, parse_outer, seal_envelope, sign_message
from mesh_protocol.ids import DeviceId
from mesh_protocol.key_request import KeyRequest, answer_key_request, open_key_request, sign_key_request
from mesh_protocol.keys import BadCiphertext, BadPeerKey, CryptoError, PrekeyPrivate, SignedPrekey
from mesh_protocol.live import LiveFrame, channel_id, open_live, peek_live, seal_live
from mesh_protocol.members import ChainError
from mesh_protocol.rotation import Rotation, rotate
from mesh_protocol.seals import BadEpochKey, EpochSeal, MeshKeys, check_epoch_keys, open_keys, seal_keys
from mesh_samples import HERE, NOW_MS

TRIALS = int(os.environ.get("MESH_REMOVALS", "120"))
NAME_OF = {HERE.key(name).public: name for name in DEVICES}
PREKEYS: dict[DeviceId, PrekeyPrivate] = {device: HERE.prekey(name) for device, name in NAME_OF.items()}
SIGNED: dict[DeviceId, SignedPrekey] = {device: HERE.spk(name) for device, name in NAME_OF.items()}
NEW_KEY = HERE.seed("the key after the removal")
FALSE_KEY = HERE.seed("a false key")
NAME_KEY = HERE.seed("name key")


@dataclass
class Trial:
    """A mesh after a random removal, and what each side holds."""

    source: random.Random
    tale: Tale
    rotation: Rotation
    old: MeshKeys
    """What every device held before, the removed too."""

    @property
    def removed(self) -> list[DeviceId]:
        after = self.rotation.state
        return [
            device
            for device in self.tale.state.devices
            if self.tale.state.is_active(device) and not after.is_active(device)
        ]

    @property
    def remaining(self) -> list[DeviceId]:
        return [device for device in self.rotation.state.devices if self.rotation.state.is_active(device)]


def try_trial(seed: int) -> Trial | None:
    """A mesh with a history, and somebody removed from it; None when there is nobody to remove."""
    source = random.Random(f"removal {seed}")
    tale = Tale()
    tale.go_on(source, source.randrange(8, 26))
    state = tale.state
    old = MeshKeys(NAME_KEY, {epoch: HERE.seed(f"epoch {epoch}") for epoch in state.kcs})
    check_epoch_keys(state, old)
    story = tale.story
    changes: list[Body] = [story.remove(name, source.random() < 0.3) for name in MEMBERS]
    changes += [story.revoke(name) for name in DEVICES]
    signers = [*sorted(tale.model.signers), *(name for name in DEVICES if story.is_active(name)), "recovery"]
    for _ in range(40):
        chosen = source.sample(changes, source.choice([1, 1, 2]))
        signer = source.choice(signers)
        at_hand = {device: SIGNED[device] for device in state.devices if source.random() < 0.8}
        try:
            rotation = rotate(
                state,
                tale.records[-1],
                chosen,
                key=HERE.key(signer),
                keys=old,
                new_key=NEW_KEY,
                prekeys=at_hand,
                tip=HERE.tip,
            )
        except ChainError:
            continue
        trial = Trial(source, tale, rotation, old)
        if trial.removed and trial.remaining:
            return trial
    return None


def learn_keys(trial: Trial) -> tuple[dict[DeviceId, MeshKeys], list[EpochSeal]]:
    """What each remaining device holds after it opened its seal, or asked for the key; and the answers to who asked."""
    rotation, held = trial.rotation, {}
    answers: list[EpochSeal] = []
    signer = rotation.records[0].signer
    if signer in trial.remaining:
        held[signer] = rotation.keys
    for seal in rotation.seals:
        keys, _ = open_keys(seal, PREKEYS[seal.to_device], HERE.mesh_id)
        check_epoch_keys(rotation.state, keys)
        held[seal.to_device] = MeshKeys(NAME_KEY, {**trial.old.epochs, **keys.epochs})
    assert set(held) | set(rotation.unsealed) == set(trial.remaining)
    holders = list(held.values()) or [rotation.keys]
    for device in rotation.unsealed:
        seal = ask(trial, device, trial.source.choice(holders))
        answers.append(seal)
        keys, _ = open_keys(seal, PREKEYS[device], HERE.mesh_id)
        check_epoch_keys(rotation.state, keys)
        held[device] = MeshKeys(NAME_KEY, {**trial.old.epochs, **keys.epochs})
    # Who has lost all he ever had asks for all of it.
    forgetful = trial.source.choice(trial.remaining)
    answers.append(ask(trial, forgetful, trial.source.choice(holders), first=1))
    keys, _ = open_keys(answers[-1], PREKEYS[forgetful], HERE.mesh_id)
    assert keys.epochs == rotation.keys.epochs
    return held, answers


def renew(trial: Trial) -> tuple[EpochSeal, ...]:
    """A signer begins one more epoch, because somebody says that his seal was no good: its seals."""
    rotation, state = trial.rotation, trial.rotation.state
    signers = sorted(state.signers)
    if not signers:
        return ()
    renewed = rotate(
        state,
        rotation.records[-1],
        (),
        key=HERE.key(NAME_OF[trial.source.choice(signers)]),
        keys=rotation.keys,
        new_key=HERE.seed("renewed"),
        prekeys={device: SIGNED[device] for device in (*trial.remaining, *trial.removed)},
        tip=HERE.tip,
    )
    assert {seal.to_device for seal in renewed.seals} == set(trial.remaining)
    return renewed.seals


def ask(trial: Trial, device: DeviceId, holder: MeshKeys, first: int = 0) -> EpochSeal:
    request = KeyRequest(HERE.mesh_id, device, first or max(trial.old.epochs) + 1, SIGNED[device], HERE.tip, b"")
    data = sign_key_request(request, HERE.key(NAME_OF[device]))
    state = trial.rotation.state
    return answer_key_request(open_key_request(data, state), state, holder, HERE.tip)


def write_mail(trial: Trial, author: DeviceId) -> list[bytes]:
    """A message from `author` to everybody his chain has, as the broker sees it."""
    state = trial.rotation.state
    mail = []
    for device in trial.remaining:
        if device != author:
            message = HERE.message(
                from_member=state.devices[author].member_id,
                from_device=author,
                to_member=state.devices[device].member_id,
                to_device=device,
            )
            mail.append(seal_envelope(sign_message(message, HERE.key(NAME_OF[author])), attempt=1, spk=SIGNED[device]))
    return mail


def write_live(trial: Trial, author: DeviceId, keys: MeshKeys) -> bytes:
    epoch = max(keys.epochs)
    gk = keys.epochs[epoch]
    frame = LiveFrame(
        HERE.mesh_id, author, epoch, 1, 1, channel_id(gk, "presence"), "presence", NOW_MS, HERE.tip, b"secret"
    )
    return seal_live(frame, gk, HERE.key(NAME_OF[author]), HERE.seed("nonce", 24))


def require_unreadable(trial: Trial, seals: Sequence[EpochSeal], mail: list[bytes], live: bytes) -> None:
    """The removed, together and with everything that ever went over the broker, open none of it."""
    for device in trial.removed:
        prekey = PREKEYS[device]
        for seal in seals:
            with pytest.raises(BadCiphertext):
                open_keys(seal, prekey, HERE.mesh_id)
        for data in mail:
            with pytest.raises(BadCiphertext):
                open_envelope(parse_outer(data), prekey)
            with pytest.raises(BadCiphertext):
                open_envelope(readdressed(parse_outer(data), device), prekey)
        with pytest.raises(BadPeerKey):
            ask(trial, device, trial.rotation.keys)
        require_early_request_refused(trial, device)
    for gk in trial.old.epochs.values():
        with pytest.raises(BadCiphertext):
            open_live(live, gk)


def require_early_request_refused(trial: Trial, device: DeviceId) -> None:
    """What he asked before he was removed is judged anew when it is answered."""
    request = KeyRequest(HERE.mesh_id, device, 1, SIGNED[device], HERE.tip, b"")
    early = open_key_request(sign_key_request(request, HERE.key(NAME_OF[device])), trial.tale.state)
    with pytest.raises(BadPeerKey):
        answer_key_request(early, trial.rotation.state, trial.rotation.keys, HERE.tip)


def readdressed(outer: Outer, device: DeviceId) -> Outer:
    fields = {name: getattr(outer, name) for name in outer.__slots__}
    return Outer(**{**fields, "to_device": device})


def require_false_keys_refused(trial: Trial, victim: DeviceId) -> None:
    """Whoever makes a seal, the broker or a member: what the chain does not commit to is not taken."""
    state, epoch = trial.rotation.state, trial.rotation.state.epoch
    false = (
        {epoch: FALSE_KEY},
        {epoch: trial.old.epochs[max(trial.old.epochs)]},
        {**trial.rotation.keys.epochs, 1: FALSE_KEY},
        {epoch + 1: NEW_KEY},
    )
    for epochs in false:
        seal = seal_keys(HERE.mesh_id, max(epochs), SIGNED[victim], MeshKeys(NAME_KEY, epochs), HERE.tip)
        keys, _ = open_keys(seal, PREKEYS[victim], HERE.mesh_id)
        with pytest.raises(BadEpochKey):
            check_epoch_keys(state, keys)


def test_nothing_written_after_a_removal_opens_for_the_removed_and_no_false_key_is_taken():
    done = removed = unsealed = 0
    for seed in range(TRIALS):
        trial = try_trial(seed)
        if trial is None:
            continue
        held, answers = learn_keys(trial)
        assert all(keys.epochs == trial.rotation.keys.epochs for keys in held.values())
        author = trial.source.choice(trial.remaining)
        mail, live = write_mail(trial, author), write_live(trial, author, held[author])
        require_unreadable(trial, [*trial.rotation.seals, *answers, *renew(trial)], mail, live)
        # Those who stay read it all.
        for data in mail:
            outer = parse_outer(data)
            open_envelope(outer, PREKEYS[outer.to_device])
        assert open_live(live, held[trial.source.choice(trial.remaining)].epochs[peek_live(live).epoch])
        require_false_keys_refused(trial, trial.source.choice(trial.remaining))
        done += 1
        removed += len(trial.removed)
        unsealed += len(trial.rotation.unsealed)
    assert done > 0.7 * TRIALS
    assert removed >= done
    assert unsealed > 0


def test_before_the_removal_the_removed_read_along():
    """Else the trial above would show nothing."""
    trial = next(found for seed in range(50) if (found := try_trial(seed)) is not None)
    device = trial.removed[0]
    seal = seal_keys(HERE.mesh_id, trial.tale.state.epoch, SIGNED[device], trial.old, HERE.tip)
    keys, _ = open_keys(seal, PREKEYS[device], HERE.mesh_id)
    check_epoch_keys(trial.tale.state, keys)
    author = trial.remaining[0]
    live = write_live(trial, author, trial.old)
    assert open_live(live, keys.epochs[peek_live(live).epoch])
    with pytest.raises(CryptoError):
        open_live(live, NEW_KEY)
