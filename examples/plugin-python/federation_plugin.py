"""What a federation plugin in Python needs: one file to copy.

    import federation_plugin as fp

    def configure(settings, secrets):
        fp.only(settings, secrets, "url", "token")
        return fp.Providers(trust=MyTrust(settings["url"]))

    fp.serve("our-pki", "1.0.0", configure)

A trust provider has bundle() and returns a Bundle; an identity provider has identity() and returns an
Identity; a key provider has signing_keys() and returns Keys. Each returns the whole current state, is called
from several threads at once, raises one of the errors below, and may have watch(changed, stopped): it calls
changed() whenever the material may have changed, until the threading.Event stopped is set. A provider
without watch is polled.

A key that stays in a KMS or an HSM is a RemoteKey, in the place of a private key:

    def sign(data, algorithm, hash, salt):
        return kms.sign(key_id, digest=data, algorithm=KMS_NAMES[algorithm, hash])

    fp.Identity(chain, fp.RemoteKey(chain[0].public_key(), sign))

When the node sends another configuration, the providers of the one before are closed once no call uses them.

It needs grpcio, protobuf and cryptography, of the distribution or of PyPI, and no generated code.
"""

import base64
import collections
import contextlib
import datetime
import hashlib
import json
import logging
import os
import queue
import sys
import tempfile
import threading
import time
import traceback
from concurrent import futures

# Standard output belongs to the handshake line: whatever is printed, by whomever, goes to standard error.
_stdout, sys.stdout = sys.stdout, sys.stderr

if os.environ.get("FEDERATION_PLUGIN") != "federation.plugin.v1":
    sys.exit(
        "This is a plugin for a federation node. It is started by the node, not by hand:\n"
        "name it in plugin.Config, or check it with plugincheck."
    )

import grpc  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils  # noqa: E402
from google.protobuf import descriptor_pool, message_factory  # noqa: E402

log = logging.getLogger("plugin")


# --- what a provider returns --------------------------------------------------------------------------

class Bundle:
    """Trusted roots and revocation lists: DER, or objects of cryptography.x509."""

    def __init__(self, roots, crls=(), refresh_after=0.0, partial=""):
        self.roots = [_der(c) for c in roots]
        self.crls = [_der(c) for c in crls]
        self.refresh_after = refresh_after  # seconds; 0: the node decides
        self.partial = partial  # why part of it is what was known before; "": all is fresh


class Identity:
    """A chain, leaf first and without the root, and the private key of the leaf: of package cryptography, or a
    RemoteKey."""

    def __init__(self, chain, key, refresh_after=0.0):
        self.chain = [_der(c) for c in chain]
        self.key = key
        self.refresh_after = refresh_after


class Keys:
    """The Ed25519 private key that signs messages (or a RemoteKey), and the public keys that peers must accept
    besides."""

    def __init__(self, active, published=(), refresh_after=0.0):
        self.active = active
        self.published = [_raw(k) for k in published]
        self.refresh_after = refresh_after


class RemoteKey:
    """A private key that is not in this process, as the key of an Identity or, if it is Ed25519, of Keys.

    public is its public key, of package cryptography. sign(data, algorithm, hash, salt) returns the signature, of
    that key and no other, as bytes. It may block, within a timeout of its own; it is called from several threads at
    once and raises one of the errors below.

        algorithm       data                hash                      salt
        "ed25519"       the whole message   ""                        0
        "ecdsa"         the digest          "sha256", …384 or …512    0; the signature is ASN.1 DER
        "rsa-pkcs1v15"  the digest          likewise                  0
        "rsa-pss"       the digest          likewise, MGF1's too      octets, to be kept exactly

    schemes are the TLS signature schemes (numbers of RFC 8446, section 4.2.3) that the key may be asked for, the best
    first. By default they are all that fit public: name them if the KMS can do fewer.
    """

    def __init__(self, public, sign, schemes=None):
        self.public, self.sign, self.schemes = public, sign, schemes

    def public_key(self):
        return self.public


class Providers:
    """What one configuration gives. A role that is None is one that the plugin does not have.

    close() is called when the providers are of no use any more: no call and no watch of theirs is under way.
    """

    def __init__(self, trust=None, identity=None, key=None, close=None):
        self.trust, self.identity, self.key, self.close = trust, identity, key, close


def _der(c):
    return c if isinstance(c, bytes) else c.public_bytes(serialization.Encoding.DER)


def _raw(k):
    return k if isinstance(k, bytes) else k.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


# --- errors -------------------------------------------------------------------------------------------

class Error(Exception):
    """What a provider raises. Its text reaches the node's log: no secret in it."""

    code, number = grpc.StatusCode.UNAVAILABLE, 2

    def __init__(self, text, retry_after=0.0, field=""):
        super().__init__(text)
        self.retry_after, self.field = retry_after, field


class NotFound(Error):
    code, number = grpc.StatusCode.NOT_FOUND, 1


class Unavailable(Error):
    """Try again; any exception that is no Error means this."""


class PermissionDenied(Error):
    code, number = grpc.StatusCode.PERMISSION_DENIED, 3


class Expired(Error):
    code, number = grpc.StatusCode.FAILED_PRECONDITION, 4


class Config(Error):
    """The configuration is wrong until somebody changes it."""

    code, number = grpc.StatusCode.INVALID_ARGUMENT, 5


class Material(Error):
    """The backend answered, and the answer is not usable."""

    code, number = grpc.StatusCode.DATA_LOSS, 6


class Unsupported(Error):
    code, number = grpc.StatusCode.UNIMPLEMENTED, 7


class _Stale(Error):
    code, number = grpc.StatusCode.ABORTED, 9


def only(settings, secrets, *names):
    """Raise Config if there is a setting or a secret that is not among names."""
    for name in sorted(set(settings) | set(secrets)):
        if name not in names:
            raise Config("unknown setting %r; known are %s" % (name, ", ".join(names)), field=name)


# --- messages, made of the protocol's descriptor at the end of this file --------------------------------

def _messages():
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(base64.b64decode(_DESCRIPTOR))
    file = pool.FindFileByName("federation/plugin/v1/plugin.proto")
    make = getattr(message_factory, "GetMessageClass", None)
    if make is None:  # protobuf before 4.22
        make = message_factory.MessageFactory(pool).GetPrototype
    return {name: make(d) for name, d in file.message_types_by_name.items()}


class _Raw(bytes):
    """A message that is passed on as it is."""

    @staticmethod
    def FromString(b):
        return _Raw(b)

    def SerializeToString(self):
        return bytes(self)


# --- keys ---------------------------------------------------------------------------------------------

def _fingerprint(public):
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


_HASHES = {2: hashes.SHA256, 3: hashes.SHA384, 4: hashes.SHA512}


def _schemes(public):
    """The TLS signature schemes (RFC 8446, section 4.2.3) of a key, the best first."""
    if isinstance(public, ed25519.Ed25519PublicKey):
        return [0x0807]
    if isinstance(public, ec.EllipticCurvePublicKey):
        return [{"secp256r1": 0x0403, "secp384r1": 0x0503, "secp521r1": 0x0603}[public.curve.name]]
    if isinstance(public, rsa.RSAPublicKey):
        return [0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601]
    raise Material("a key of type %s" % type(public).__name__)


def _sign(key, request):
    """Sign as an IdentitySignRequest says."""
    algorithm, data, salt, public = request.algorithm, request.input, request.salt_length, key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey) and algorithm == 1 and request.hash == 1:
        return _sign_message(key, data)
    hash_type = _HASHES.get(request.hash)
    if hash_type is None or len(data) != hash_type.digest_size:
        raise Unsupported("hash %d with %d octets" % (request.hash, len(data)))
    digest = utils.Prehashed(hash_type())
    if isinstance(public, ec.EllipticCurvePublicKey) and algorithm == 2:
        name, how = "ecdsa", (ec.ECDSA(digest),)
    elif isinstance(public, rsa.RSAPublicKey) and algorithm == 3:
        name, how = "rsa-pkcs1v15", (padding.PKCS1v15(), digest)
    elif isinstance(public, rsa.RSAPublicKey) and algorithm == 4 and salt > 0:
        name, how = "rsa-pss", (padding.PSS(padding.MGF1(hash_type()), salt), digest)
    else:
        raise Unsupported("algorithm %d for a key of type %s" % (algorithm, type(public).__name__))
    if isinstance(key, RemoteKey):
        return _ask(key, data, name, hash_type.name, salt)
    return key.sign(data, *how)


def _sign_message(key, message):
    return _ask(key, message, "ed25519", "", 0) if isinstance(key, RemoteKey) else key.sign(message)


def _ask(key, *args):
    signature = key.sign(*args)
    if not isinstance(signature, bytes):
        raise Material("the sign function of a RemoteKey returned %s, not bytes" % type(signature).__name__)
    return signature


class _Keyring:
    """The keys that the node was told of last: a handshake that began with the old one ends with it."""

    def __init__(self):
        self._keys, self._lock = collections.OrderedDict(), threading.Lock()

    def add(self, fingerprint, key):
        with self._lock:
            self._keys[fingerprint] = key
            self._keys.move_to_end(fingerprint)
            while len(self._keys) > 8:
                self._keys.popitem(last=False)

    def find(self, fingerprint):
        with self._lock:
            return self._keys.get(fingerprint)


# --- the services -------------------------------------------------------------------------------------

class _Configured:
    def __init__(self, revision, settings, secrets, providers):
        self.revision, self.settings, self.secrets, self.providers = revision, settings, secrets, providers
        self.over = threading.Event()  # another configuration is in force
        self.identities, self.keys = _Keyring(), _Keyring()
        self.uses, self.idle = 0, threading.Condition()

    def enter(self):
        with self.idle:
            self.uses += 1

    def leave(self):
        with self.idle:
            self.uses -= 1
            self.idle.notify_all()

    def retire(self):
        """Wait for the calls under way, and close the providers."""
        with self.idle:
            self.idle.wait_for(lambda: self.uses == 0)
        self.close()

    def close(self):
        if self.providers.close is None:
            return
        try:
            self.providers.close()
        except Exception as e:  # noqa: BLE001
            log.warning("closing the providers of a configuration: %s", type(e).__name__)

    def roles(self):
        p = self.providers
        return [n for n, v in ((1, p.trust), (2, p.identity), (3, p.key)) if v is not None]


class _Plugin:
    def __init__(self, name, version, configure, roles, validate):
        self.name, self.version, self.make, self.offers, self.check = name, version, configure, roles, validate
        self.m = _messages()
        self.turn = threading.Lock()  # one Configure at a time
        self.lock, self.current = threading.Lock(), None

    @contextlib.contextmanager
    def use(self, role):
        """The configuration in force and its provider of a role, which is not closed until the end of the block."""
        with self.lock:
            c = self.current
            if c is None:
                raise Unavailable("not configured yet")
            c.enter()
        try:
            provider = getattr(c.providers, role)
            if provider is None:
                raise Unsupported("this plugin has no %s role as configured" % role)
            yield c, provider
        finally:
            c.leave()

    # Lifecycle

    def info(self, request, context):
        return self.m["InfoResponse"](name=self.name, version=self.version, roles=self.offers)

    def validate(self, request, context):
        if self.check is None:
            raise Unsupported("only Configure can tell")
        self.check(*_values(request.configuration))
        return self.m["ValidateResponse"]()

    def configure(self, request, context):
        c = request.configuration
        settings, secrets = _values(c)
        with self.turn:
            old = self.current
            if old is not None:
                same = settings == old.settings and secrets == old.secrets
                if c.revision < old.revision or (c.revision == old.revision and not same):
                    raise Config("revision %d is in force, this is %d" % (old.revision, c.revision))
                if c.revision == old.revision:
                    return self.m["ConfigureResponse"](roles=old.roles())
            new = _Configured(c.revision, settings, secrets, self.make(dict(settings), dict(secrets)))
            if not new.roles():
                raise Config("the configuration gives this plugin no role")
            with self.lock:
                self.current = new
        if old is not None:
            old.over.set()
            threading.Thread(target=old.retire, daemon=True).start()
        return self.m["ConfigureResponse"](roles=new.roles())

    # Trust

    def trust_bundle(self, request, context):
        with self.use("trust") as (_, provider):
            b = provider.bundle()
        return self.m["TrustBundleResponse"](
            roots=b.roots, crls=b.crls, refresh_after_ms=_millis(b.refresh_after), partial=b.partial)

    # Identity

    def identity(self, request, context):
        with self.use("identity") as (c, provider):
            return self._identity(c, provider)

    def _identity(self, c, provider):
        i = provider.identity()
        public = x509.load_der_x509_certificate(i.chain[0]).public_key()
        fingerprint = _fingerprint(public)
        if fingerprint != _fingerprint(i.key.public_key()):
            raise Material("the private key does not belong to the leaf")
        c.identities.add(fingerprint, i.key)
        schemes = getattr(i.key, "schemes", None)
        return self.m["IdentityResponse"](
            chain=i.chain, fingerprint=fingerprint, signature_schemes=_schemes(public) if schemes is None else schemes,
            refresh_after_ms=_millis(i.refresh_after))

    def identity_sign(self, request, context):
        with self.use("identity") as (c, provider):
            key = c.identities.find(request.fingerprint)
            if key is None:  # after a restart nothing has been pulled yet; the key may well be the same
                self._identity(c, provider)
                key = c.identities.find(request.fingerprint)
            if key is None:
                raise _Stale("the key is no longer there; pull again")
            return self.m["SignResponse"](signature=_sign(key, request))

    # Key

    def signing_keys(self, request, context):
        with self.use("key") as (c, provider):
            return self._signing_keys(c, provider)

    def _signing_keys(self, c, provider):
        k = provider.signing_keys()
        public = k.active.public_key()
        if not isinstance(public, ed25519.Ed25519PublicKey):
            raise Material("the key that signs messages is no Ed25519 key")
        c.keys.add(_fingerprint(public), k.active)
        return self.m["SigningKeysResponse"](
            active=_raw(public), published=k.published, refresh_after_ms=_millis(k.refresh_after))

    def key_sign(self, request, context):
        with self.use("key") as (c, provider):
            key = c.keys.find(request.fingerprint)
            if key is None:
                self._signing_keys(c, provider)
                key = c.keys.find(request.fingerprint)
            if key is None:
                raise _Stale("the key is no longer there; pull again")
            return self.m["SignResponse"](signature=_sign_message(key, request.message))

    # Watch, of each role

    def watch(self, role):
        def serve(request, context):
            with self.use(role) as (c, provider):
                if not hasattr(provider, "watch"):
                    raise Unsupported("poll me")
                stopped, changes, failed = threading.Event(), queue.Queue(maxsize=1), []

                def changed():
                    try:
                        changes.put_nowait(True)
                    except queue.Full:
                        pass  # one is on its way

                def run():
                    try:
                        provider.watch(changed, stopped)
                    except Exception as e:  # noqa: BLE001
                        failed.append(_as_error(e))
                        log.warning("the watch of the %s provider ended: %s", role, failed[0])
                    finally:
                        stopped.set()
                        c.leave()

                context.add_callback(stopped.set)
                changed()
                c.enter()  # until watch returns, which may be after the stream has ended
                threading.Thread(target=run, daemon=True).start()
                try:
                    while not stopped.is_set() and not c.over.is_set():
                        try:
                            changes.get(timeout=0.2)
                        except queue.Empty:
                            continue
                        yield self.m["WatchResponse"]()
                finally:
                    stopped.set()
            if not context.is_active():
                return
            if failed and not c.over.is_set():
                raise failed[0]  # Unsupported makes the node poll
            raise Unavailable("the watch has ended; subscribe again")

        return serve

    # --- registration

    def handlers(self, stop):
        m = self.m

        def unary(method, request, response):
            return grpc.unary_unary_rpc_method_handler(
                _guard(m, method), request_deserializer=m[request].FromString,
                response_serializer=m[response].SerializeToString)

        def stream(role):
            return grpc.unary_stream_rpc_method_handler(
                _guard_stream(m, self.watch(role)), request_deserializer=m["WatchRequest"].FromString,
                response_serializer=m["WatchResponse"].SerializeToString)

        def raw(method):
            return grpc.unary_unary_rpc_method_handler(
                method, request_deserializer=_Raw.FromString, response_serializer=_Raw.SerializeToString)

        v1 = "federation.plugin.v1."
        services = {
            v1 + "Lifecycle": {
                "Info": unary(self.info, "InfoRequest", "InfoResponse"),
                "Validate": unary(self.validate, "ValidateRequest", "ValidateResponse"),
                "Configure": unary(self.configure, "ConfigureRequest", "ConfigureResponse"),
            },
            v1 + "Trust": {
                "TrustBundle": unary(self.trust_bundle, "TrustBundleRequest", "TrustBundleResponse"),
                "Watch": stream("trust"),
            },
            v1 + "Identity": {
                "Identity": unary(self.identity, "IdentityRequest", "IdentityResponse"),
                "Sign": unary(self.identity_sign, "IdentitySignRequest", "SignResponse"),
                "Watch": stream("identity"),
            },
            v1 + "Key": {
                "SigningKeys": unary(self.signing_keys, "SigningKeysRequest", "SigningKeysResponse"),
                "Sign": unary(self.key_sign, "KeySignRequest", "SignResponse"),
                "Watch": stream("key"),
            },
            # HealthCheckResponse{status: SERVING}
            "grpc.health.v1.Health": {"Check": raw(lambda request, context: _Raw(b"\x08\x01"))},
            "plugin.GRPCController": {"Shutdown": raw(lambda request, context: stop() or _Raw())},
        }
        return tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())


def _values(configuration):
    """The settings and the secrets of a configuration, as text."""
    secrets = {k: v.decode("utf-8", "surrogateescape") for k, v in configuration.secrets.items()}
    return dict(configuration.settings), secrets


def _millis(seconds):
    return max(0, int(seconds * 1000 + 0.999))


# --- errors on the wire -------------------------------------------------------------------------------

def _field(number, value):
    """One length-delimited field of a protocol buffer."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def _abort(m, context, e):
    detail = m["ErrorDetail"](code=e.number, retry_after_ms=_millis(e.retry_after), field=e.field)
    any_ = _field(1, b"type.googleapis.com/federation.plugin.v1.ErrorDetail") + _field(2, detail.SerializeToString())
    text = str(e)[:1000]
    status = b"\x08" + _varint(e.code.value[0]) + _field(2, text.encode()) + _field(3, any_)  # google.rpc.Status
    context.set_trailing_metadata((("grpc-status-details-bin", status),))
    context.abort(e.code, text)


def _as_error(e):
    """An exception that is no Error says only its type: its text may hold anything."""
    if isinstance(e, Error):
        return e
    log.error("unexpected %s", "".join(traceback.format_tb(e.__traceback__)).rstrip())
    return Unavailable("unexpected %s in the plugin; its log has the stack" % type(e).__name__)


def _guard(m, method):
    def call(request, context):
        try:
            return method(request, context)
        except Exception as e:  # noqa: BLE001
            _abort(m, context, _as_error(e))

    return call


def _guard_stream(m, method):
    def call(request, context):
        try:
            yield from method(request, context)
        except GeneratorExit:
            raise
        except Exception as e:  # noqa: BLE001
            _abort(m, context, _as_error(e))

    return call


# --- the process --------------------------------------------------------------------------------------

class _Log(logging.Handler):
    """Lines that the node's log understands, with their levels."""

    def emit(self, record):
        level = "debug" if record.levelno < 20 else "info" if record.levelno < 30 else "warn" if record.levelno < 40 else "error"
        at = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc).isoformat()
        line = {"@level": level, "@message": record.getMessage(), "@module": record.name, "@timestamp": at}
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()


def _certificate():
    """The certificate of the socket: P-256, made anew for each process."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "federation plugin")])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, cert


def serve(name, version, configure, roles=(1, 2, 3), validate=None):
    """Serve what configure(settings, secrets) returns, until the node says stop or is gone.

    validate(settings, secrets) raises Config if they cannot work; it must not use them, contact anybody or leave
    anything behind. Without it the node learns from configure alone.
    """
    level = {"trace": 10, "debug": 10, "warn": 30, "error": 40}.get(os.environ.get("FEDERATION_PLUGIN_LOG", ""), 20)
    logging.basicConfig(level=level, handlers=[_Log()])

    ended = threading.Event()
    plugin = _Plugin(name, version, configure, list(roles), validate)
    # Each stream takes a thread; gRPC makes them as they are needed.
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=256), handlers=plugin.handlers(ended.set),
        options=[("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)])
    key, cert = _certificate()
    host = os.environ["PLUGIN_CLIENT_CERT"].encode()
    credentials = grpc.ssl_server_credentials(
        [(key, cert.public_bytes(serialization.Encoding.PEM))], root_certificates=host, require_client_auth=True)
    socket = tempfile.mktemp(prefix="plugin", dir=os.environ["PLUGIN_UNIX_SOCKET_DIR"])  # the folder is private
    if server.add_secure_port("unix:" + socket, credentials) == 0:
        sys.exit("cannot listen on " + socket)
    server.start()

    parent = os.getppid()  # before the node, which may end at any time, learns that this process is here
    # go-plugin wants base64 without padding.
    line = base64.b64encode(cert.public_bytes(serialization.Encoding.DER)).decode().rstrip("=")
    _stdout.write("1|1|unix|%s|grpc|%s\n" % (socket, line))
    _stdout.flush()

    while not ended.wait(0.5):
        if os.getppid() != parent:
            os._exit(3)  # the node is gone
    time.sleep(0.05)  # for the answer to Shutdown
    server.stop(0)
    if plugin.current is not None:
        plugin.current.close()
    os._exit(0)


# The protocol, version 1. Generated; do not edit.
_DESCRIPTOR = """
CiFmZWRlcmF0aW9uL3BsdWdpbi92MS9wbHVnaW4ucHJvdG8SFGZlZGVyYXRpb24ucGx1Z2luLnYxIg0KC0luZm9SZXF1ZXN0IpIB
CgxJbmZvUmVzcG9uc2USEgoEbmFtZRgBIAEoCVIEbmFtZRIYCgd2ZXJzaW9uGAIgASgJUgd2ZXJzaW9uEjAKBXJvbGVzGAMgAygO
MhouZmVkZXJhdGlvbi5wbHVnaW4udjEuUm9sZVIFcm9sZXMSIgoMY2FwYWJpbGl0aWVzGAQgAygJUgxjYXBhYmlsaXRpZXMi4AIK
DUNvbmZpZ3VyYXRpb24STQoIc2V0dGluZ3MYASADKAsyMS5mZWRlcmF0aW9uLnBsdWdpbi52MS5Db25maWd1cmF0aW9uLlNldHRp
bmdzRW50cnlSCHNldHRpbmdzEkoKB3NlY3JldHMYAiADKAsyMC5mZWRlcmF0aW9uLnBsdWdpbi52MS5Db25maWd1cmF0aW9uLlNl
Y3JldHNFbnRyeVIHc2VjcmV0cxIaCghyZXZpc2lvbhgDIAEoBFIIcmV2aXNpb24SHwoLaW5zdGFuY2VfaWQYBCABKAlSCmluc3Rh
bmNlSWQaOwoNU2V0dGluZ3NFbnRyeRIQCgNrZXkYASABKAlSA2tleRIUCgV2YWx1ZRgCIAEoCVIFdmFsdWU6AjgBGjoKDFNlY3Jl
dHNFbnRyeRIQCgNrZXkYASABKAlSA2tleRIUCgV2YWx1ZRgCIAEoDFIFdmFsdWU6AjgBIlwKD1ZhbGlkYXRlUmVxdWVzdBJJCg1j
b25maWd1cmF0aW9uGAEgASgLMiMuZmVkZXJhdGlvbi5wbHVnaW4udjEuQ29uZmlndXJhdGlvblINY29uZmlndXJhdGlvbiISChBW
YWxpZGF0ZVJlc3BvbnNlIl0KEENvbmZpZ3VyZVJlcXVlc3QSSQoNY29uZmlndXJhdGlvbhgBIAEoCzIjLmZlZGVyYXRpb24ucGx1
Z2luLnYxLkNvbmZpZ3VyYXRpb25SDWNvbmZpZ3VyYXRpb24iRQoRQ29uZmlndXJlUmVzcG9uc2USMAoFcm9sZXMYASADKA4yGi5m
ZWRlcmF0aW9uLnBsdWdpbi52MS5Sb2xlUgVyb2xlcyIOCgxXYXRjaFJlcXVlc3QiDwoNV2F0Y2hSZXNwb25zZSIUChJUcnVzdEJ1
bmRsZVJlcXVlc3QigwEKE1RydXN0QnVuZGxlUmVzcG9uc2USFAoFcm9vdHMYASADKAxSBXJvb3RzEhIKBGNybHMYAiADKAxSBGNy
bHMSKAoQcmVmcmVzaF9hZnRlcl9tcxgDIAEoA1IOcmVmcmVzaEFmdGVyTXMSGAoHcGFydGlhbBgEIAEoCVIHcGFydGlhbCIRCg9J
ZGVudGl0eVJlcXVlc3QioQEKEElkZW50aXR5UmVzcG9uc2USFAoFY2hhaW4YASADKAxSBWNoYWluEiAKC2ZpbmdlcnByaW50GAIg
ASgMUgtmaW5nZXJwcmludBIrChFzaWduYXR1cmVfc2NoZW1lcxgDIAMoDVIQc2lnbmF0dXJlU2NoZW1lcxIoChByZWZyZXNoX2Fm
dGVyX21zGAQgASgDUg5yZWZyZXNoQWZ0ZXJNcyLmAQoTSWRlbnRpdHlTaWduUmVxdWVzdBIgCgtmaW5nZXJwcmludBgBIAEoDFIL
ZmluZ2VycHJpbnQSRgoJYWxnb3JpdGhtGAIgASgOMiguZmVkZXJhdGlvbi5wbHVnaW4udjEuU2lnbmF0dXJlQWxnb3JpdGhtUglh
bGdvcml0aG0SLgoEaGFzaBgDIAEoDjIaLmZlZGVyYXRpb24ucGx1Z2luLnYxLkhhc2hSBGhhc2gSHwoLc2FsdF9sZW5ndGgYBCAB
KAVSCnNhbHRMZW5ndGgSFAoFaW5wdXQYBSABKAxSBWlucHV0IhQKElNpZ25pbmdLZXlzUmVxdWVzdCKtAQoTU2lnbmluZ0tleXNS
ZXNwb25zZRIWCgZhY3RpdmUYASABKAxSBmFjdGl2ZRIcCglwdWJsaXNoZWQYAiADKAxSCXB1Ymxpc2hlZBIoChByZWZyZXNoX2Fm
dGVyX21zGAMgASgDUg5yZWZyZXNoQWZ0ZXJNcxI2CgZjaGFpbnMYBCADKAsyHi5mZWRlcmF0aW9uLnBsdWdpbi52MS5LZXlDaGFp
blIGY2hhaW5zIi4KCEtleUNoYWluEiIKDGNlcnRpZmljYXRlcxgBIAMoDFIMY2VydGlmaWNhdGVzIkwKDktleVNpZ25SZXF1ZXN0
EiAKC2ZpbmdlcnByaW50GAEgASgMUgtmaW5nZXJwcmludBIYCgdtZXNzYWdlGAIgASgMUgdtZXNzYWdlIiwKDFNpZ25SZXNwb25z
ZRIcCglzaWduYXR1cmUYASABKAxSCXNpZ25hdHVyZSJ+CgtFcnJvckRldGFpbBIzCgRjb2RlGAEgASgOMh8uZmVkZXJhdGlvbi5w
bHVnaW4udjEuRXJyb3JDb2RlUgRjb2RlEiQKDnJldHJ5X2FmdGVyX21zGAIgASgDUgxyZXRyeUFmdGVyTXMSFAoFZmllbGQYAyAB
KAlSBWZpZWxkKk0KBFJvbGUSFAoQUk9MRV9VTlNQRUNJRklFRBAAEg4KClJPTEVfVFJVU1QQARIRCg1ST0xFX0lERU5USVRZEAIS
DAoIUk9MRV9LRVkQAyrAAQoSU2lnbmF0dXJlQWxnb3JpdGhtEiMKH1NJR05BVFVSRV9BTEdPUklUSE1fVU5TUEVDSUZJRUQQABIf
ChtTSUdOQVRVUkVfQUxHT1JJVEhNX0VEMjU1MTkQARIdChlTSUdOQVRVUkVfQUxHT1JJVEhNX0VDRFNBEAISJAogU0lHTkFUVVJF
X0FMR09SSVRITV9SU0FfUEtDUzFWMTUQAxIfChtTSUdOQVRVUkVfQUxHT1JJVEhNX1JTQV9QU1MQBCpeCgRIYXNoEhQKEEhBU0hf
VU5TUEVDSUZJRUQQABINCglIQVNIX05PTkUQARIPCgtIQVNIX1NIQTI1NhACEg8KC0hBU0hfU0hBMzg0EAMSDwoLSEFTSF9TSEE1
MTIQBCqNAgoJRXJyb3JDb2RlEhoKFkVSUk9SX0NPREVfVU5TUEVDSUZJRUQQABIYChRFUlJPUl9DT0RFX05PVF9GT1VORBABEhoK
FkVSUk9SX0NPREVfVU5BVkFJTEFCTEUQAhIZChVFUlJPUl9DT0RFX1BFUk1JU1NJT04QAxIWChJFUlJPUl9DT0RFX0VYUElSRUQQ
BBIVChFFUlJPUl9DT0RFX0NPTkZJRxAFEhcKE0VSUk9SX0NPREVfTUFURVJJQUwQBhIaChZFUlJPUl9DT0RFX1VOU1VQUE9SVEVE
EAcSFQoRRVJST1JfQ09ERV9DTE9TRUQQCBIYChRFUlJPUl9DT0RFX1NUQUxFX0tFWRAJMpMCCglMaWZlY3ljbGUSTQoESW5mbxIh
LmZlZGVyYXRpb24ucGx1Z2luLnYxLkluZm9SZXF1ZXN0GiIuZmVkZXJhdGlvbi5wbHVnaW4udjEuSW5mb1Jlc3BvbnNlElkKCFZh
bGlkYXRlEiUuZmVkZXJhdGlvbi5wbHVnaW4udjEuVmFsaWRhdGVSZXF1ZXN0GiYuZmVkZXJhdGlvbi5wbHVnaW4udjEuVmFsaWRh
dGVSZXNwb25zZRJcCglDb25maWd1cmUSJi5mZWRlcmF0aW9uLnBsdWdpbi52MS5Db25maWd1cmVSZXF1ZXN0GicuZmVkZXJhdGlv
bi5wbHVnaW4udjEuQ29uZmlndXJlUmVzcG9uc2UyvwEKBVRydXN0EmIKC1RydXN0QnVuZGxlEiguZmVkZXJhdGlvbi5wbHVnaW4u
djEuVHJ1c3RCdW5kbGVSZXF1ZXN0GikuZmVkZXJhdGlvbi5wbHVnaW4udjEuVHJ1c3RCdW5kbGVSZXNwb25zZRJSCgVXYXRjaBIi
LmZlZGVyYXRpb24ucGx1Z2luLnYxLldhdGNoUmVxdWVzdBojLmZlZGVyYXRpb24ucGx1Z2luLnYxLldhdGNoUmVzcG9uc2UwATKQ
AgoISWRlbnRpdHkSWQoISWRlbnRpdHkSJS5mZWRlcmF0aW9uLnBsdWdpbi52MS5JZGVudGl0eVJlcXVlc3QaJi5mZWRlcmF0aW9u
LnBsdWdpbi52MS5JZGVudGl0eVJlc3BvbnNlElIKBVdhdGNoEiIuZmVkZXJhdGlvbi5wbHVnaW4udjEuV2F0Y2hSZXF1ZXN0GiMu
ZmVkZXJhdGlvbi5wbHVnaW4udjEuV2F0Y2hSZXNwb25zZTABElUKBFNpZ24SKS5mZWRlcmF0aW9uLnBsdWdpbi52MS5JZGVudGl0
eVNpZ25SZXF1ZXN0GiIuZmVkZXJhdGlvbi5wbHVnaW4udjEuU2lnblJlc3BvbnNlMo8CCgNLZXkSYgoLU2lnbmluZ0tleXMSKC5m
ZWRlcmF0aW9uLnBsdWdpbi52MS5TaWduaW5nS2V5c1JlcXVlc3QaKS5mZWRlcmF0aW9uLnBsdWdpbi52MS5TaWduaW5nS2V5c1Jl
c3BvbnNlElIKBVdhdGNoEiIuZmVkZXJhdGlvbi5wbHVnaW4udjEuV2F0Y2hSZXF1ZXN0GiMuZmVkZXJhdGlvbi5wbHVnaW4udjEu
V2F0Y2hSZXNwb25zZTABElAKBFNpZ24SJC5mZWRlcmF0aW9uLnBsdWdpbi52MS5LZXlTaWduUmVxdWVzdBoiLmZlZGVyYXRpb24u
cGx1Z2luLnYxLlNpZ25SZXNwb25zZUI9WjtnaXRodWIuY29tL2FscGhhb25lZGV2L2ZlZGVyYXRpb24vc2RrL3BsdWdpbi9wcm90
bztwbHVnaW5wYmIGcHJvdG8z
"""
