"""A Secret Service on the session bus, as much of the specification as libsecret's clients use, for machines without one.

Run as a program: `secret_service.py open|locked|forgetful`. `locked` answers every unlock with a prompt that nobody
accepts; `forgetful` acknowledges writes and loses them. Prints "ready" when it owns the name.
"""

import sys

from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import DBusNameFlags, message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

NAME = "org.freedesktop.secrets"
COLLECTION = "/org/freedesktop/secrets/collection/login"
PROMPT = "/org/freedesktop/secrets/prompt/p0"
SESSION = "/org/freedesktop/secrets/session/s0"


class Service:
    def __init__(self, mode):
        self.mode = mode
        self.items = {}
        self.count = 0

    def handle(self, message):
        fields = message.header.fields
        path, member = fields[HeaderFields.path], fields[HeaderFields.member]
        body = message.body
        match member:
            case "OpenSession":
                if body[0] != "plain":
                    return new_error(message, "org.freedesktop.DBus.Error.NotSupported", "s", ("plain only",))
                return new_method_return(message, "vo", (("s", ""), SESSION))
            case "ReadAlias":
                return new_method_return(message, "o", (COLLECTION,))
            case "Get":
                return self.get(message, path, body[1])
            case "SearchItems":
                wanted = dict(body[0])
                found = [p for p, (have, _) in self.items.items() if wanted.items() <= have.items()]
                return new_method_return(message, "ao", (found,))
            case "CreateItem":
                return self.create(message, body)
            case "GetSecret":
                return new_method_return(message, "(oayays)", ((SESSION, b"", self.items[path][1], "text/plain"),))
            case "Delete":
                self.items.pop(path, None)
                return new_method_return(message, "o", ("/",))
            case "Unlock":
                if self.mode == "locked":
                    return new_method_return(message, "aoo", ([], PROMPT))
                return new_method_return(message, "aoo", (body[0], "/"))
            case "Prompt":
                return new_method_return(message)  # shown to nobody, completed never
        return new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", "s", (member,))

    def get(self, message, path, name):
        if path not in self.items and "/collection/login/" in path:
            return new_error(message, "org.freedesktop.DBus.Error.UnknownObject", "s", (path,))
        value = ("b", self.mode == "locked") if name == "Locked" else ("s", "login")
        return new_method_return(message, "v", (value,))

    def create(self, message, body):
        attributes = dict(body[0]["org.freedesktop.Secret.Item.Attributes"][1])
        for path in [p for p, (have, _) in self.items.items() if have == attributes]:
            del self.items[path]
        self.count += 1
        path = f"{COLLECTION}/{self.count}"
        kept = b"lost" if self.mode == "forgetful" else bytes(body[1][2])
        self.items[path] = (attributes, kept)
        return new_method_return(message, "oo", (path, "/"))


def main():
    service = Service(sys.argv[1])
    with open_dbus_connection("SESSION") as connection:
        Proxy(message_bus, connection).RequestName(NAME, DBusNameFlags.do_not_queue)
        print("ready", flush=True)
        while True:
            message = connection.receive()
            if message.header.message_type == MessageType.method_call:
                connection.send(service.handle(message))


if __name__ == "__main__":
    main()
