"""A plugin for the small certificate authority of examples/plugin-go, in Python: it enrols, renews before the
certificate ends, and keeps its keys in a folder, so that a new process is the same node.

Settings: url and root-sha256 of the authority, name (a DNS name for the certificate), state (a folder of the
plugin's own, absolute). Secret: token.
"""

import base64
import datetime
import hashlib
import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.request

import federation_plugin as fp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519


class Authority:
    """The client of the small CA. It trusts what has the pinned root, and nothing else."""

    def __init__(self, url, sha256, token):
        self.url, self.sha256, self.token = url, sha256.lower(), token
        self.known, self.lock = None, threading.Lock()

    def root(self):
        """The root, fetched once and held against the pin: what brought it need not be trusted then."""
        with self.lock:
            if self.known is None:
                der = self.request("/root", context=ssl._create_unverified_context())
                if hashlib.sha256(der).hexdigest() != self.sha256:
                    raise fp.Material("the authority's root has another SHA-256 than root-sha256")
                self.known = der
            return self.known

    def enrol(self, key, name):
        """A chain for a key, leaf first."""
        csr = (
            x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        body = json.dumps({"csr": base64.b64encode(csr.public_bytes(serialization.Encoding.DER)).decode()})
        context = ssl.create_default_context(cadata=self.root())
        answer = self.request("/enrol", body.encode(), context)
        try:
            return [base64.b64decode(c) for c in json.loads(answer)["chain"]]
        except (ValueError, KeyError, TypeError):
            raise fp.Material("the authority's answer is no chain") from None

    def request(self, path, body=None, context=None):
        request = urllib.request.Request(self.url + path, data=body)
        if body is not None:
            request.add_header("Authorization", "Bearer " + self.token)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as response:
                return response.read(1 << 20)
        except urllib.error.HTTPError as e:
            if e.code in (401, 403):
                raise fp.PermissionDenied("the authority does not take the token") from None
            raise fp.Unavailable("the authority answers %d" % e.code) from None
        except OSError as e:
            raise fp.Unavailable("the authority cannot be reached: %s" % e) from None


class Node:
    """What all three roles share."""

    def __init__(self, authority, name, state):
        self.authority, self.name, self.state = authority, name, state
        self.lock, self.chain, self.renew, self.ends = threading.Lock(), None, 0.0, 0.0

    def load(self, name, make):
        """A key of the state folder, made the first time."""
        path = os.path.join(self.state, name)
        try:
            with open(path, "rb") as f:
                return serialization.load_pem_private_key(f.read(), None)
        except FileNotFoundError:
            key = make()
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
                f.write(pem)
            os.replace(path + ".new", path)
            return key
        except ValueError:
            raise fp.Material("%s is no key; remove it to begin anew" % path) from None


class Trust(Node):
    def bundle(self):
        return fp.Bundle([self.authority.root()])


class Identity(Node):
    def identity(self):
        with self.lock:
            key = self.load("tls.pem", lambda: ec.generate_private_key(ec.SECP256R1()))
            if self.chain is None or time.time() >= self.renew:
                try:
                    self.take(self.authority.enrol(key, self.name))
                except fp.Error:
                    if self.chain is None or time.time() >= self.ends:
                        raise  # otherwise the old one serves while the authority is away
            return fp.Identity(self.chain, key, refresh_after=max(1.0, self.renew - time.time()))

    def take(self, chain):
        leaf = x509.load_der_x509_certificate(chain[0])

        def seconds(attribute):
            value = getattr(leaf, attribute + "_utc", None)  # cryptography 42 and later
            return (value or getattr(leaf, attribute).replace(tzinfo=datetime.timezone.utc)).timestamp()

        begins, ends = seconds("not_valid_before"), seconds("not_valid_after")
        self.chain, self.renew, self.ends = chain, begins + (ends - begins) * 2 / 3, ends


class Key(Node):
    def signing_keys(self):
        with self.lock:
            return fp.Keys(self.load("message.pem", ed25519.Ed25519PrivateKey.generate))


def validate(settings, secrets):
    """Raise fp.Config if the settings cannot work. It changes nothing and contacts nobody."""
    fp.only(settings, secrets, "url", "root-sha256", "name", "state", "token")
    for name in ("url", "root-sha256", "name", "state"):
        if not settings.get(name):
            raise fp.Config("%s is not set" % name, field=name)
    if not os.path.isabs(settings["state"]):
        raise fp.Config("state is not absolute", field="state")


def configure(settings, secrets):
    """Check the settings and make the providers. It contacts nobody: that is for the first pull."""
    validate(settings, secrets)
    try:
        os.makedirs(settings["state"], mode=0o700, exist_ok=True)
    except OSError as e:
        raise fp.Config("state: %s" % e, field="state") from None
    authority = Authority(settings["url"], settings["root-sha256"], secrets.get("token", ""))
    fp.log.info("configured for %s at %s", settings["name"], settings["url"])
    node = (authority, settings["name"], settings["state"])
    return fp.Providers(trust=Trust(*node), identity=Identity(*node), key=Key(*node))


if __name__ == "__main__":
    fp.serve("small-ca-python", "1.0.0", configure, validate=validate)
