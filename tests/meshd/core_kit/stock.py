"""What a broker has of a machine's prekeys."""

from world.broker import BrokerHouse
from world.machine import Machine


def stock(house: BrokerHouse, machine: Machine) -> list[object]:
    """What others may be given of a machine's prekeys, one row for each kind."""
    device = machine.app.node.device
    read = house.database.reader.execute
    signed = read("SELECT prekey FROM device WHERE id=? AND prekey IS NOT NULL", (device,)).fetchall()
    once = read("SELECT first FROM onetime WHERE device=(SELECT no FROM device WHERE id=?)", (device,)).fetchall()
    return [*signed, *once]
