// What a federation plugin in Node needs: one file to copy.
//
//   import * as fp from './handshake.mjs';
//
//   function configure(settings, secrets) {
//     fp.only(settings, secrets, 'url', 'token');
//     return { trust: new Trust(settings.url) };
//   }
//
//   fp.serve('our-pki', '1.0.0', configure);
//
// configure(settings, secrets) returns the providers, or a promise of them: { trust, identity, key, close }, each
// of them optional. Settings are strings, secrets are Buffers.
//
//   trust.bundle()        { roots, crls, refreshAfterMs, partial }: partial says why part of it is old
//   identity.identity()   { chain, key, refreshAfterMs }: leaf first, without the root; the leaf's private key
//   key.signingKeys()     { active, published, refreshAfterMs }: the Ed25519 private key that signs, and the
//                         public keys that peers must accept besides
//   close()               called when no call and no watch uses the providers any more
//
// Certificates and revocation lists are DER (Buffer or Uint8Array) or crypto.X509Certificate; keys are
// crypto.KeyObject, and a private key that stays in a KMS or an HSM is a RemoteKey in its place:
//
//   const sign = (input, { algorithm, hash }) => kms.sign(keyId, input, kmsNames[`${algorithm} ${hash}`]);
//   return { chain, key: new fp.RemoteKey({ publicKey: leaf.publicKey, sign }) };
//
// Without refreshAfterMs the node decides when to ask again. Each method returns the whole
// current state, or a promise of it, is called again before an earlier call has ended, and throws one of the errors
// below. A provider may have watch(changed, signal): it calls changed() whenever the material may have changed, and
// returns a promise that ends when the AbortSignal does. A provider without watch is polled.
//
// It needs Node 20.19 or later and the packages @grpc/grpc-js, @grpc/proto-loader and @noble/curves.

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import tls from 'node:tls';
import { isDeepStrictEqual } from 'node:util';

// Standard output belongs to the handshake line: whatever is printed, by whomever, goes to standard error.
process.stdout.write = process.stderr.write.bind(process.stderr);

if (process.env.FEDERATION_PLUGIN !== 'federation.plugin.v1') {
  console.error('This is a plugin for a federation node. It is started by the node, not by hand:\n' +
    'name it in plugin.Config, or check it with plugincheck.');
  process.exit(1);
}

const [{ default: grpc }, { default: loader }, { p256, p384, p521 }] = await Promise.all(
  ['@grpc/grpc-js', '@grpc/proto-loader', '@noble/curves/nist.js'].map((name) => import(name)),
).catch((e) => {
  if (e.code !== 'ERR_MODULE_NOT_FOUND') throw e;
  console.error(`A package is missing; npm ci installs those of package.json: ${e.message}`);
  process.exit(1);
});

// --- errors -------------------------------------------------------------------------------------------

// What a provider throws. Its text reaches the node's log: no secret in it.
export class Failure extends Error {
  static status = grpc.status.UNAVAILABLE;
  static code = 2;

  constructor(text, { retryAfterMs = 0, field = '' } = {}) {
    super(text);
    this.retryAfterMs = retryAfterMs;
    this.field = field;
  }
}

export class NotFound extends Failure {
  static status = grpc.status.NOT_FOUND;
  static code = 1;
}

// Try again; anything thrown that is no Failure means this.
export class Unavailable extends Failure {}

export class PermissionDenied extends Failure {
  static status = grpc.status.PERMISSION_DENIED;
  static code = 3;
}

export class Expired extends Failure {
  static status = grpc.status.FAILED_PRECONDITION;
  static code = 4;
}

// The configuration is wrong until somebody changes it.
export class Config extends Failure {
  static status = grpc.status.INVALID_ARGUMENT;
  static code = 5;
}

// The backend answered, and the answer is not usable.
export class Material extends Failure {
  static status = grpc.status.DATA_LOSS;
  static code = 6;
}

export class Unsupported extends Failure {
  static status = grpc.status.UNIMPLEMENTED;
  static code = 7;
}

class Stale extends Failure {
  static status = grpc.status.ABORTED;
  static code = 9;
}

// only throws Config if there is a setting or a secret that is not among names.
export function only(settings, secrets, ...names) {
  for (const name of [...Object.keys(settings), ...Object.keys(secrets)].sort()) {
    if (!names.includes(name)) {
      throw new Config(`unknown setting ${JSON.stringify(name)}; known are ${names.join(', ')}`, { field: name });
    }
  }
}

// asFailure makes a Failure of whatever was thrown. What is none says only its type: its text may hold anything.
function asFailure(e) {
  if (e instanceof Failure) return e;
  const kind = e?.constructor?.name ?? typeof e;
  const ours = (line) => line.startsWith('    at ') && !/node_modules|node:/.test(line);
  log.error(`unexpected ${kind}`, { stack: String(e?.stack ?? '').split('\n').filter(ours).join('\n') });
  return new Unavailable(`unexpected ${kind} in the plugin; its log has the stack`);
}

// asStatus is the form of an error on the wire: a google.rpc.Status with an ErrorDetail.
function asStatus(e) {
  const failure = asFailure(e);
  const { status, code } = failure.constructor;
  const text = String(failure.message).slice(0, 1000).toWellFormed();
  const detail = protocol.ErrorDetail.serialize({
    code, retry_after_ms: millis(failure.retryAfterMs), field: failure.field,
  });
  const any = [field(1, 'type.googleapis.com/federation.plugin.v1.ErrorDetail'), field(2, detail)];
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin', Buffer.concat([Buffer.from([8, status]), field(2, text), field(3, ...any)]));
  return { code: status, details: text, metadata };
}

// field is one length-delimited field of a protocol buffer.
function field(number, ...parts) {
  const body = Buffer.concat(parts.map((p) => Buffer.from(p)));
  const head = [number << 3 | 2];
  let n = body.length;
  for (; n > 0x7f; n >>>= 7) head.push(n & 0x7f | 0x80);
  return Buffer.concat([Buffer.from([...head, n]), body]);
}

// --- the log ------------------------------------------------------------------------------------------

const levels = ['trace', 'debug', 'info', 'warn', 'error'];
const wanted = process.env.FEDERATION_PLUGIN_LOG;
const lowest = levels.indexOf(levels.includes(wanted) ? wanted : 'info');

function line(level) {
  return (message, pairs = {}) => {
    if (levels.indexOf(level) < lowest) return;
    const at = new Date().toISOString().replace('Z', '000Z'); // microseconds, as go-plugin reads them
    const entry = { '@level': level, '@message': String(message), '@module': 'plugin', '@timestamp': at, ...pairs };
    process.stderr.write(JSON.stringify(entry) + '\n');
  };
}

// Lines that the node's log understands, with their levels: log.info('renewed', { until }).
export const log = Object.fromEntries(levels.map((level) => [level, line(level)]));

// --- keys that are elsewhere --------------------------------------------------------------------------

// A RemoteKey is a private key that is not in this process: the key of an identity or, if it is Ed25519, the active
// one that signs messages.
//
// publicKey is its public key, a crypto.KeyObject. sign(input, { algorithm, hash, saltLength }) returns the signature,
// of that key and no other, or a promise of it: a Buffer or Uint8Array. It has a timeout of its own, is called again
// before an earlier call has ended, and throws one of the errors above.
//
//   algorithm       input               hash                       saltLength
//   'ed25519'       the whole message   ''                         0
//   'ecdsa'         the digest          'sha256', …384 or …512     0; the signature is ASN.1 DER
//   'rsa-pkcs1v15'  the digest          likewise                   0
//   'rsa-pss'       the digest          likewise, MGF1's too       octets, to be kept exactly
//
// schemes are the TLS signature schemes (numbers of RFC 8446, section 4.2.3) that the key may be asked for, the best
// first. By default they are all that fit publicKey: name them if the KMS can do fewer.
export class RemoteKey {
  constructor({ publicKey, sign, schemes }) {
    Object.assign(this, { publicKey, sign, schemes });
  }
}

async function ask(key, input, algorithm, hash = '', saltLength = 0) {
  const signature = await key.sign(input, { algorithm, hash, saltLength });
  if (signature instanceof Uint8Array) return signature;
  throw new Material('the sign function of a RemoteKey returned neither a Buffer nor a Uint8Array');
}

// typed is what knows the type of a key: the public half of one that is elsewhere.
function typed(key) {
  return key instanceof RemoteKey ? key.publicKey : key;
}

// --- certificates -------------------------------------------------------------------------------------

// Node reads certificates and makes none. These are the few that a plugin may need, signed by P-256 keys.

// der is one element of DER; a part is a Buffer, octets or text.
function der(tag, ...parts) {
  const body = Buffer.concat(parts.map((p) => Buffer.from(p)));
  const n = body.length;
  if (n > 0xffff) throw new RangeError('too much for one certificate');
  const length = n < 0x80 ? [n] : n < 0x100 ? [0x81, n] : [0x82, n >> 8, n & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

const sequence = (...parts) => der(0x30, ...parts);
const bits = (b) => der(0x03, [0], b);
const hex = (s) => Buffer.from(s, 'hex');

const ecdsaWithSHA256 = sequence(der(0x06, hex('2a8648ce3d040302')));

// named is a distinguished name of one common name, or of nothing.
function named(name) {
  return name === '' ? sequence() : sequence(der(0x31, sequence(der(0x06, hex('550403')), der(0x0c, name))));
}

// instant is UTCTime up to 2049 and GeneralizedTime from 2050 on (RFC 5280, section 4.1.2.5).
function instant(milliseconds) {
  const s = new Date(milliseconds).toISOString().replace(/[-:T]|\.\d+/g, '');
  return s < '2050' ? der(0x17, s.slice(2)) : der(0x18, s);
}

function extension(id, critical, value) {
  return sequence(der(0x06, hex(id)), ...(critical ? [der(0x01, [0xff])] : []), der(0x04, value));
}

function alternativeNames(dnsNames) {
  return extension('551d11', false, sequence(...dnsNames.map((n) => der(0x82, n))));
}

function publicInfo(key) {
  const publicKey = key.type === 'private' ? crypto.createPublicKey(key) : typed(key);
  return publicKey.export({ type: 'spki', format: 'der' });
}

function signed(content, key) {
  if (typed(key).asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new TypeError('it takes a P-256 key to sign this');
  }
  const whole = (signature) => sequence(content, ecdsaWithSHA256, bits(signature));
  if (!(key instanceof RemoteKey)) return whole(crypto.sign('sha256', content, key));
  return ask(key, crypto.createHash('sha256').update(content).digest(), 'ecdsa', 'sha256').then(whole);
}

// certificate makes an X.509 certificate, DER, for the public half of key. It is self-signed unless there are an
// issuer and an issuerKey. One that is no CA's is for TLS clients and servers.
export function certificate({ name, key, issuer = name, issuerKey = key, days, ca = false, dnsNames = [] }) {
  const serial = crypto.randomBytes(16);
  serial[0] = serial[0] & 0x3f | 0x40; // positive, and the shortest form
  const extensions = [extension('551d13', true, ca ? sequence(der(0x01, [0xff])) : sequence())];
  if (dnsNames.length > 0) extensions.push(alternativeNames(dnsNames));
  if (!ca) {
    const [server, client] = ['2b06010505070301', '2b06010505070302'].map((id) => der(0x06, hex(id)));
    extensions.push(extension('551d25', false, sequence(client, server)));
  }
  const now = Date.now();
  return signed(sequence(
    der(0xa0, der(0x02, [2])), der(0x02, serial), ecdsaWithSHA256, named(issuer),
    sequence(instant(now - 60_000), instant(now + days * 86_400_000)), named(name),
    publicInfo(key), der(0xa3, sequence(...extensions)),
  ), issuerKey);
}

// signingRequest makes a certificate signing request (PKCS #10), DER, for a private key. For a RemoteKey it returns a
// promise of one.
export function signingRequest({ name = '', key, dnsNames = [] }) {
  const wanted = sequence(der(0x06, hex('2a864886f70d01090e')), der(0x31, sequence(alternativeNames(dnsNames))));
  return signed(sequence(
    der(0x02, [0]), named(name), publicInfo(key), der(0xa0, ...(dnsNames.length > 0 ? [wanted] : [])),
  ), key);
}

// --- keys ---------------------------------------------------------------------------------------------

function fingerprint(key) {
  return crypto.createHash('sha256').update(publicInfo(key)).digest();
}

const curves = {
  prime256v1: { scheme: 0x0403, curve: p256 },
  secp384r1: { scheme: 0x0503, curve: p384 },
  secp521r1: { scheme: 0x0603, curve: p521 },
};

// schemesOf are the TLS signature schemes (RFC 8446, section 4.2.3) of a key, the best first.
function schemesOf(key) {
  const { namedCurve } = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === 'ed25519') return [0x0807];
  if (namedCurve in curves) return [curves[namedCurve].scheme];
  if (key.asymmetricKeyType === 'rsa') return [0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601];
  throw new Material(`a key of type ${key.asymmetricKeyType} ${namedCurve ?? ''}`);
}

// DigestInfo of RFC 8017, section 9.2, up to the digest.
const hashes = {
  2: { name: 'sha256', size: 32, info: hex('3031300d060960864801650304020105000420') },
  3: { name: 'sha384', size: 48, info: hex('3041300d060960864801650304020205000430') },
  4: { name: 'sha512', size: 64, info: hex('3051300d060960864801650304020305000440') },
};

// sign signs as an IdentitySignRequest says. The input is a digest, and crypto.sign would hash it again; so RSA is
// padded here, and ECDSA is that of @noble/curves.
async function sign(key, { algorithm, hash: number, salt_length: saltLength, input }) {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = typed(key);
  if (type === 'ed25519' && algorithm === 1 && number === 1) return signMessage(key, input);
  const hash = hashes[number];
  if (hash?.size !== input.length) throw new Unsupported(`hash ${number} with ${input.length} octets`);
  const name = { 'ec 2': 'ecdsa', 'rsa 3': 'rsa-pkcs1v15', 'rsa 4': 'rsa-pss' }[`${type} ${algorithm}`];
  if (name === undefined || name === 'rsa-pss' && saltLength <= 0) {
    throw new Unsupported(`algorithm ${algorithm} for a key of type ${type}`);
  }
  if (key instanceof RemoteKey) return ask(key, input, name, hash.name, saltLength);
  if (name === 'ecdsa') {
    const secret = Buffer.from(key.export({ format: 'jwk' }).d, 'base64url');
    const { curve } = curves[details.namedCurve];
    return curve.sign(input, secret, { prehash: false, lowS: false, extraEntropy: true, format: 'der' });
  }
  if (name === 'rsa-pkcs1v15') {
    const padding = crypto.constants.RSA_PKCS1_PADDING;
    return crypto.privateEncrypt({ key, padding }, Buffer.concat([hash.info, input]));
  }
  const encoded = encodePSS(hash, input, saltLength, details.modulusLength);
  return crypto.privateEncrypt({ key, padding: crypto.constants.RSA_NO_PADDING }, encoded);
}

function signMessage(key, message) {
  return key instanceof RemoteKey ? ask(key, message, 'ed25519') : crypto.sign(null, message, key);
}

// encodePSS is EMSA-PSS-ENCODE of RFC 8017, section 9.1.1, in as many octets as the modulus has.
function encodePSS({ name, size }, digest, saltLength, modulusBits) {
  const digestOf = (...parts) => parts.reduce((h, p) => h.update(p), crypto.createHash(name)).digest();
  const length = Math.ceil((modulusBits - 1) / 8);
  if (length < size + saltLength + 2) throw new Unsupported('the key is too short for this salt');
  const salt = crypto.randomBytes(saltLength);
  const h = digestOf(Buffer.alloc(8), digest, salt);
  const block = Buffer.concat([Buffer.alloc(length - saltLength - size - 2), Buffer.from([1]), salt]);
  for (let at = 0, counter = 0; at < block.length; counter++) { // MGF1
    const count = Buffer.alloc(4);
    count.writeUInt32BE(counter);
    for (const octet of digestOf(h, count)) if (at < block.length) block[at++] ^= octet;
  }
  block[0] &= 0xff >> 8 * length - (modulusBits - 1);
  return Buffer.concat([Buffer.alloc(Math.ceil(modulusBits / 8) - length), block, h, Buffer.from([0xbc])]);
}

// A Keyring has the keys that the node was told of last: a handshake that began with the old one ends with it.
class Keyring {
  #keys = new Map();

  add(name, key) {
    const id = name.toString('hex');
    this.#keys.delete(id);
    this.#keys.set(id, key);
    if (this.#keys.size > 8) this.#keys.delete(this.#keys.keys().next().value);
  }

  find(name) {
    return this.#keys.get(name.toString('hex'));
  }
}

// --- what providers return ----------------------------------------------------------------------------

function asDER(value, what) {
  if (value instanceof Uint8Array) return value;
  if (value instanceof crypto.X509Certificate) return value.raw;
  throw new Material(`${what} holds what is neither DER (a Buffer) nor a crypto.X509Certificate`);
}

function asRaw(key) {
  return key instanceof Uint8Array ? key : Buffer.from(key.export({ format: 'jwk' }).x, 'base64url');
}

function millis(n) {
  return Math.max(0, Math.ceil(n ?? 0));
}

// --- the services -------------------------------------------------------------------------------------

const roles = { trust: 1, identity: 2, key: 3 };

class Configured {
  identities = new Keyring();
  keys = new Keyring();
  watches = new Set(); // of AbortController
  uses = 0;
  over = false; // another configuration is in force

  constructor(revision, settings, secrets, providers) {
    Object.assign(this, { revision, settings, secrets, providers });
    this.roles = Object.keys(roles).filter((name) => providers[name]).map((name) => roles[name]);
  }

  leave() {
    this.uses--;
    if (this.over && this.uses === 0) this.close();
  }

  // retire closes the providers when the calls under way have ended.
  retire() {
    this.uses++;
    this.over = true;
    for (const watch of this.watches) watch.abort();
    this.leave();
  }

  async close() {
    try {
      await this.providers.close?.();
    } catch (e) {
      log.warn(`closing the providers of a configuration: ${asFailure(e).message}`);
    }
  }
}

class Plugin {
  current = null;
  #turn = Promise.resolve(); // one Configure at a time

  constructor(name, version, configure, validate) {
    Object.assign(this, { name, version, make: configure, check: validate });
  }

  // enter returns the configuration in force and its provider of a role, which is not closed before leave.
  enter(role) {
    const c = this.current;
    if (c === null) throw new Unavailable('not configured yet');
    const provider = c.providers[role];
    if (!provider) throw new Unsupported(`this plugin has no ${role} role as configured`);
    c.uses++;
    return [c, provider];
  }

  async use(role, call) {
    const [c, provider] = this.enter(role);
    try {
      return await call(c, provider);
    } finally {
      c.leave();
    }
  }

  // Lifecycle

  info(offered) {
    return { name: this.name, version: this.version, roles: offered.map((name) => roles[name]) };
  }

  async validate({ configuration }) {
    if (!this.check) throw new Unsupported('only Configure can tell');
    const { settings, secrets } = values(configuration);
    await this.check(settings, secrets);
    return {};
  }

  configure({ configuration }) {
    const done = this.#turn.then(() => this.#configure(values(configuration)));
    this.#turn = done.catch(() => {});
    return done;
  }

  async #configure({ revision, settings, secrets }) {
    const old = this.current;
    if (old !== null) {
      const same = isDeepStrictEqual([settings, secrets], [old.settings, old.secrets]);
      if (revision < old.revision || revision === old.revision && !same) {
        throw new Config(`revision ${old.revision} is in force, this is ${revision}`);
      }
      if (revision === old.revision) return { roles: old.roles };
    }
    const providers = await this.make({ ...settings }, { ...secrets });
    const c = new Configured(revision, settings, secrets, providers);
    if (c.roles.length === 0) throw new Config('the configuration gives this plugin no role');
    this.current = c;
    old?.retire();
    return { roles: c.roles };
  }

  // Trust

  trustBundle() {
    return this.use('trust', async (c, provider) => {
      const { roots, crls = [], refreshAfterMs, partial = '' } = await provider.bundle();
      return {
        roots: roots.map((r) => asDER(r, 'roots')), crls: crls.map((l) => asDER(l, 'crls')),
        refresh_after_ms: millis(refreshAfterMs), partial,
      };
    });
  }

  // Identity

  identity() {
    return this.use('identity', (c, provider) => this.#identity(c, provider));
  }

  async #identity(c, provider) {
    const { chain, key, refreshAfterMs } = await provider.identity();
    const leaf = new crypto.X509Certificate(asDER(chain[0], 'chain'));
    const name = fingerprint(leaf.publicKey);
    const fits = key instanceof RemoteKey ? fingerprint(key).equals(name) : leaf.checkPrivateKey(key);
    if (!fits) throw new Material('the private key does not belong to the leaf');
    c.identities.add(name, key);
    return {
      chain: chain.map((one) => asDER(one, 'chain')), fingerprint: name,
      signature_schemes: key.schemes ?? schemesOf(leaf.publicKey), refresh_after_ms: millis(refreshAfterMs),
    };
  }

  identitySign(request) {
    return this.use('identity', async (c, provider) => {
      // After a restart nothing has been pulled yet; the key may well be the same.
      if (!c.identities.find(request.fingerprint)) await this.#identity(c, provider);
      const key = c.identities.find(request.fingerprint);
      if (!key) throw new Stale('the key is no longer there; pull again');
      return { signature: await sign(key, request) };
    });
  }

  // Key

  signingKeys() {
    return this.use('key', (c, provider) => this.#signingKeys(c, provider));
  }

  async #signingKeys(c, provider) {
    const { active, published = [], refreshAfterMs } = await provider.signingKeys();
    const { asymmetricKeyType: type } = typed(active);
    if (type !== 'ed25519') throw new Material('the key that signs messages is no Ed25519 key');
    c.keys.add(fingerprint(active), active);
    return { active: asRaw(typed(active)), published: published.map(asRaw), refresh_after_ms: millis(refreshAfterMs) };
  }

  keySign(request) {
    return this.use('key', async (c, provider) => {
      if (!c.keys.find(request.fingerprint)) await this.#signingKeys(c, provider);
      const key = c.keys.find(request.fingerprint);
      if (!key) throw new Stale('the key is no longer there; pull again');
      return { signature: await signMessage(key, request.message) };
    });
  }

  // Watch, of each role

  async watch(role, stream) {
    const stop = new AbortController();
    const end = (e) => {
      if (stop.signal.aborted) return;
      stop.abort();
      if (!stream.cancelled) stream.emit('error', asStatus(e));
    };
    let c, provider;
    try {
      [c, provider] = this.enter(role);
    } catch (e) {
      return end(e);
    }
    const watch = { abort: () => end(new Unavailable('the watch has ended; subscribe again')) };
    try {
      if (!provider.watch) throw new Unsupported('poll me');
      c.watches.add(watch);
      stream.on('cancelled', () => stop.abort());
      let busy = false;
      let again = false;
      const changed = () => {
        again = busy;
        if (busy || stop.signal.aborted) return;
        busy = true; // until it is sent: a slow reader is sent one message for many changes
        stream.write({}, () => {
          busy = false;
          if (again) changed();
        });
      };
      changed();
      await provider.watch(changed, stop.signal);
      watch.abort();
    } catch (e) {
      end(e);
    } finally {
      c.watches.delete(watch);
      c.leave();
    }
  }

  // --- registration

  register(server, offered, shutdown) {
    const unary = (method) => async (call, answer) => {
      let response;
      try {
        response = await method(call.request);
      } catch (e) {
        return answer(asStatus(e));
      }
      answer(null, response);
    };
    const stream = (role) => (call) => this.watch(role, call);
    server.addService(protocol.Lifecycle, {
      Info: unary(() => this.info(offered)),
      Validate: unary((request) => this.validate(request)),
      Configure: unary((request) => this.configure(request)),
    });
    server.addService(protocol.Trust, { TrustBundle: unary(() => this.trustBundle()), Watch: stream('trust') });
    server.addService(protocol.Identity, {
      Identity: unary(() => this.identity()),
      Sign: unary((request) => this.identitySign(request)),
      Watch: stream('identity'),
    });
    server.addService(protocol.Key, {
      SigningKeys: unary(() => this.signingKeys()),
      Sign: unary((request) => this.keySign(request)),
      Watch: stream('key'),
    });
    const serving = Buffer.from([8, 1]); // HealthCheckResponse{status: SERVING}
    server.addService(raw('grpc.health.v1.Health', 'Check'), { Check: unary(() => serving) });
    server.addService(raw('plugin.GRPCController', 'Shutdown'), {
      Shutdown: unary(() => {
        shutdown();
        return Buffer.alloc(0);
      }),
    });
  }
}

// values takes a Configuration apart.
function values(configuration) {
  const { settings = [], secrets = [], revision = '0' } = configuration ?? {};
  return { revision: BigInt(revision), settings: object(settings), secrets: object(secrets) };
}

// object makes an object of a map field, which the loader leaves as a list of its entries.
function object(map) {
  return Array.isArray(map) ? Object.fromEntries(map.map(({ key, value }) => [key, value])) : map;
}

// raw is the definition of a service whose messages are passed on as they are.
function raw(service, method) {
  const same = (b) => b;
  return {
    [method]: {
      path: `/${service}/${method}`, requestStream: false, responseStream: false,
      requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
    },
  };
}

// --- the process --------------------------------------------------------------------------------------

// serve serves what configure(settings, secrets) returns, until the node says stop or is gone.
//
// validate(settings, secrets) throws Config if they cannot work; it must not use them, contact anybody or leave
// anything behind. Without it the node learns from configure alone. roles are those that some configuration can give.
export async function serve(name, version, configure, { roles: offered = Object.keys(roles), validate } = {}) {
  protocol = load();
  const plugin = new Plugin(name, version, configure, validate);
  let stopping = false;
  const stop = async () => {
    if (stopping) return;
    stopping = true;
    const late = setTimeout(() => process.exit(0), 1000);
    await plugin.current?.close();
    clearTimeout(late);
    process.exit(0);
  };
  const server = new grpc.Server({
    'grpc.max_receive_message_length': 16 << 20, 'grpc.max_send_message_length': 16 << 20, 'grpc.enable_channelz': 0,
  });
  plugin.register(server, offered, () => setTimeout(stop, 50)); // after the answer
  process.on('SIGTERM', stop);

  // The certificate of the socket, made anew for each process, and the one of the node, which is the only one that
  // gets in.
  const { privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const own = certificate({ name: 'federation plugin', key: privateKey, days: 3650, dnsNames: ['localhost'] });
  if (!process.env.PLUGIN_CLIENT_CERT) throw new Error('PLUGIN_CLIENT_CERT is not set; a node sets it');
  const host = new crypto.X509Certificate(process.env.PLUGIN_CLIENT_CERT);
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure()); // behind the TLS server
  const listener = tls.createServer({
    minVersion: 'TLSv1.3', ALPNProtocols: ['h2'],
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }), cert: new crypto.X509Certificate(own).toString(),
    ca: host.toString(), requestCert: true, rejectUnauthorized: true,
  }, (socket) => {
    if (socket.getPeerX509Certificate()?.raw.equals(host.raw)) injector.injectConnection(socket);
    else socket.destroy();
  });

  const parent = process.ppid; // before the node, which may end at any time, learns that this process is here
  setInterval(() => {
    if (process.ppid !== parent) process.exit(3); // the node is gone
  }, 500);

  // On Windows Node has no Unix sockets; there, and only there, the node accepts loopback.
  const unix = process.platform !== 'win32';
  const socket = path.join(process.env.PLUGIN_UNIX_SOCKET_DIR ?? '', `plugin${crypto.randomInt(2 ** 32)}`);
  await new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(unix ? { path: socket } : { host: '127.0.0.1', port: 0 }, resolve);
  });
  const address = unix ? `unix|${socket}` : `tcp|127.0.0.1:${listener.address().port}`;
  // go-plugin wants base64 without padding.
  fs.writeSync(1, `1|1|${address}|grpc|${own.toString('base64').replace(/=+$/, '')}\n`);
}

// --- the messages, made of the protocol's descriptor ---------------------------------------------------

let protocol; // definitions of services and messages, by name

function load() {
  const set = field(1, Buffer.from(DESCRIPTOR, 'base64')); // a FileDescriptorSet of one
  const all = Object.entries(loader.loadFileDescriptorSetFromBuffer(set, { longs: String, defaults: true }));
  const prefix = 'federation.plugin.v1.';
  return Object.fromEntries(all.map(([name, definition]) => [name.slice(prefix.length), definition]));
}

// The protocol, version 1. Generated; do not edit.
const DESCRIPTOR = `
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
`;
