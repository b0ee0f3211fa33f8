"""A plugin for the small certificate authority of examples/plugin-go, in Python: it enrols, renews before the
certificate ends, and keeps its keys and its chain in a folder, so that a new process is the same node.

Settings: url and root-sha256 of the authority, name (a DNS name for the certificate), state (a folder of the
plugin's own, absolute). Secret: token.
"""

import base64
import datetime
import hashlib
import http.client
import json
import os
import random
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
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
            chain = [x509.load_der_x509_certificate(base64.b64decode(c)) for c in json.loads(answer)["chain"]]
        except (ValueError, KeyError, TypeError):
            raise fp.Material("the authority's answer is no chain") from None
        if not chain or chain[0].public_key() != key.public_key():
            raise fp.Material("the authority's chain is for another key")
        return chain

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
        except (OSError, http.client.HTTPException) as e:
            raise fp.Unavailable("the authority cannot be reached: %s" % e) from None


def write(path, content):
    """A file whole or not at all, for the plugin's own eyes."""
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(content)
    os.replace(path + ".new", path)


class Issued:
    """A chain with its key, and when to renew it."""

    def __init__(self, chain, key):
        def seconds(attribute):
            value = getattr(chain[0], attribute + "_utc", None)  # cryptography 42 and later
            return (value or getattr(chain[0], attribute).replace(tzinfo=datetime.timezone.utc)).timestamp()

        begins, ends = seconds("not_valid_before"), seconds("not_valid_after")
        self.chain, self.key, self.ends, self.renew = chain, key, ends, begins + (ends - begins) * 2 / 3

    def of(self, key):
        return self.chain[0].public_key() == key.public_key()


class Node:
    """What all three roles share."""

    def __init__(self, authority, name, state):
        self.authority, self.name, self.state = authority, name, state
        self.lock = threading.Lock()

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
            write(path, pem)
            return key
        except ValueError:
            raise fp.Material("%s is no key; remove it to begin anew" % path) from None


class Trust(Node):
    def bundle(self):
        return fp.Bundle([self.authority.root()])


class Identity(Node):
    def __init__(self, authority, name, state):
        super().__init__(authority, name, state)
        self.issued, self.file = None, os.path.join(state, "chain.pem")
        # It begins the file, which is of no use for another name or authority.
        self.owner = ("%s %s\n" % (name, authority.sha256)).encode()

    def identity(self):
        with self.lock:
            key = self.load("tls.pem", lambda: ec.generate_private_key(ec.SECP256R1()))
            if self.issued is None or not self.issued.of(key):
                self.issued = self.kept(key)  # the first time, or another key is there
            if self.issued is None or time.time() >= self.issued.renew:
                self.enrol(key)
            i = self.issued
            return fp.Identity(i.chain, i.key, refresh_after=max(1.0, i.renew - time.time()))

    def enrol(self, key):
        try:
            self.issued = Issued(self.authority.enrol(key, self.name), key)
        except fp.Error as e:
            now = time.time()
            if self.issued is None or now >= self.issued.ends:
                raise  # otherwise the old one serves while the authority is away
            self.issued.renew = now + min(60.0, (self.issued.ends - now) / 10) * random.uniform(0.5, 1)
            fp.log.warning("cannot renew; the certificate of before serves on: %s", e)
            return
        try:  # the next process serves with it while the authority is away
            chain = [c.public_bytes(serialization.Encoding.PEM) for c in self.issued.chain]
            write(self.file, self.owner + b"".join(chain))
        except OSError as e:
            fp.log.warning("cannot keep the chain; the next process must enrol: %s", e)

    def kept(self, key):
        """What a process before this one was issued for the key, if it has not ended."""
        try:
            with open(self.file, "rb") as f:
                text = f.read()
            if not text.startswith(self.owner):
                return None
            blocks = re.findall(b"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", text)
            issued = Issued([x509.load_pem_x509_certificate(b) for b in blocks], key)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, IndexError) as e:
            fp.log.warning("cannot use the chain that was kept in %s: %s", self.file, e)
            return None
        return issued if issued.of(key) and time.time() < issued.ends else None


class Key(Node):
    def signing_keys(self):
        with self.lock:
            return fp.Keys(self.load("message.pem", ed25519.Ed25519PrivateKey.generate))


def token_of(secrets):
    """The token, which may come from a file that ends in a newline."""
    return re.sub(r"\r?\n\Z", "", secrets.get("token", ""))


def validate(settings, secrets):
    """Raise fp.Config if the settings cannot work. It changes nothing and contacts nobody."""
    fp.only(settings, secrets, "url", "root-sha256", "name", "state", "token")
    for name in ("url", "root-sha256", "name", "state"):
        if not settings.get(name):
            raise fp.Config("%s is not set" % name, field=name)
    try:
        url = urllib.parse.urlsplit(settings["url"])
    except ValueError:
        url = None
    if url is None or url.scheme != "https" or not url.netloc:
        raise fp.Config("url is no https URL", field="url")
    if not os.path.isabs(settings["state"]):
        raise fp.Config("state is not absolute", field="state")
    if re.search("[^!-~]", token_of(secrets)):
        raise fp.Config("token has a space, or a character that is not visible ASCII", field="token")


def configure(settings, secrets):
    """Check the settings and make the providers. It contacts nobody: that is for the first pull."""
    validate(settings, secrets)
    try:
        os.makedirs(settings["state"], mode=0o700, exist_ok=True)
    except OSError as e:
        raise fp.Config("state: %s" % e, field="state") from None
    authority = Authority(settings["url"], settings["root-sha256"], token_of(secrets))
    fp.log.info("configured for %s at %s", settings["name"], settings["url"])
    node = (authority, settings["name"], settings["state"])
    return fp.Providers(trust=Trust(*node), identity=Identity(*node), key=Key(*node))


if __name__ == "__main__":
    fp.serve("small-ca-python", "1.0.0", configure, validate=validate)
