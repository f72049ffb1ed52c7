"""Which groups a machine knows, and the profiles in its outbox."""

from world.machine import Machine


async def until_groups(machine: Machine, *wanted: str, seconds: float = 30.0) -> None:
    """Wait until the machine lists exactly these memberships, each as `group to role`."""

    async def same() -> bool:
        return await groups(machine) == sorted(wanted)

    await machine.world.until(same, seconds, f"{machine.name} lists {wanted}")


async def groups(machine: Machine) -> list[str]:
    rows = (await machine.call("group.list"))["members"]
    return sorted(f"{row['group']} {row['to']} {row['role']}".strip() for row in rows)


def profiles_of(machine: Machine) -> list[tuple[bytes, int]]:
    """The profile messages in the outbox: their ids and how many deliveries each has."""
    query = (
        "SELECT msg_id, (SELECT count(*) FROM delivery d WHERE d.msg_id=m.msg_id) FROM message m WHERE kind='profile'"
    )
    return [(bytes(row[0]), int(row[1])) for row in machine.app.node.db.reader.execute(query)]
