"""A plugin for a test: its keys are in a KMS, which is the test's. Settings: url, schemes (comma-separated numbers)."""

import urllib.error
import urllib.request

import federation_plugin as fp
from cryptography.hazmat.primitives import serialization


class Node:
    def __init__(self, url, schemes):
        self.url, self.schemes = url, schemes

    def ask(self, path, body=None):
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data=body), timeout=20) as response:
                return None if response.status == 204 else response.read()
        except urllib.error.HTTPError as e:
            if e.code == 403:
                raise fp.PermissionDenied("the KMS refuses") from None
            raise

    def key(self, name, schemes=None):
        def sign(data, algorithm, hash, salt):
            return self.ask("/sign/%s?algorithm=%s&hash=%s&salt=%d" % (name, algorithm, hash, salt), data)

        return fp.RemoteKey(serialization.load_der_public_key(self.ask("/public/" + name)), sign, schemes)

    def bundle(self):
        return fp.Bundle([self.ask("/root")])

    def identity(self):
        return fp.Identity([self.ask("/chain", b"")], self.key("tls", self.schemes))

    def signing_keys(self):
        return fp.Keys(self.key("message"))


def configure(settings, secrets):
    fp.only(settings, secrets, "url", "schemes")
    schemes = settings.get("schemes")
    node = Node(settings["url"], [int(s) for s in schemes.split(",")] if schemes else None)
    return fp.Providers(trust=node, identity=node, key=node)


if __name__ == "__main__":
    fp.serve("remote", "1.0.0", configure)
