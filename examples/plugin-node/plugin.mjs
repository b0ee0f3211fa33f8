// A plugin for the small certificate authority of examples/plugin-go, in Node: it enrols, renews before the
// certificate ends, and keeps its keys and its chain in a folder, so that a new process is the same node.
//
// Settings: url and root-sha256 of the authority, name (a DNS name for the certificate), state (a folder of the
// plugin's own, absolute). Secret: token.

import * as fp from './handshake.mjs';
import crypto from 'node:crypto';
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';

// The client of the small CA. It trusts what has the pinned root, and nothing else.
class Authority {
  #root; // a promise of it

  constructor(url, sha256, token) {
    Object.assign(this, { url, sha256: sha256.toLowerCase(), token });
  }

  // root is fetched once and held against the pin: what brought it need not be trusted then.
  root() {
    this.#root ??= this.#fetchRoot().catch((e) => {
      this.#root = undefined;
      throw e;
    });
    return this.#root;
  }

  async #fetchRoot() {
    const der = await this.#request('/root', { rejectUnauthorized: false });
    if (crypto.createHash('sha256').update(der).digest('hex') !== this.sha256) {
      throw new fp.Material("the authority's root has another SHA-256 than root-sha256");
    }
    return new crypto.X509Certificate(der);
  }

  // enrol returns a chain for a key, leaf first.
  async enrol(key, name) {
    const csr = fp.signingRequest({ key, dnsNames: [name] });
    const root = await this.root();
    const answer = await this.#request('/enrol', {
      method: 'POST', ca: root.toString(), headers: { authorization: `Bearer ${this.token}` },
    }, JSON.stringify({ csr: csr.toString('base64') }));
    let chain;
    try {
      chain = JSON.parse(answer).chain.map((c) => new crypto.X509Certificate(Buffer.from(c, 'base64')));
    } catch {
      throw new fp.Material("the authority's answer is no chain");
    }
    if (!chain[0]?.checkPrivateKey(key)) throw new fp.Material("the authority's chain is for another key");
    return chain;
  }

  async #request(where, options, body) {
    let status;
    const parts = [];
    try {
      const signal = AbortSignal.timeout(10_000);
      const request = https.request(this.url + where, { ...options, agent: false, signal });
      const response = await new Promise((resolve, reject) => {
        request.on('response', resolve).on('error', reject).end(body);
      });
      status = response.statusCode;
      let size = 0;
      for await (const part of response) {
        if ((size += part.length) > 1 << 20) throw new fp.Material("the authority's answer is too long");
        parts.push(part);
      }
    } catch (e) {
      if (e instanceof fp.Failure) throw e;
      throw new fp.Unavailable(`the authority cannot be reached: ${e.code ?? e.name}`);
    }
    if (status === 401 || status === 403) throw new fp.PermissionDenied('the authority does not take the token');
    if (status !== 200) throw new fp.Unavailable(`the authority answers ${status}`);
    return Buffer.concat(parts);
  }
}

// load reads a key of the state folder, which is made the first time.
function load(state, name, type, options) {
  const file = path.join(state, name);
  let pem;
  try {
    pem = fs.readFileSync(file);
  } catch (e) {
    if (e.code !== 'ENOENT') throw new fp.Unavailable(`${file}: ${e.code}`);
    const { privateKey } = crypto.generateKeyPairSync(type, options);
    fs.writeFileSync(`${file}.new`, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    fs.renameSync(`${file}.new`, file);
    return privateKey;
  }
  try {
    return crypto.createPrivateKey(pem);
  } catch {
    throw new fp.Material(`${file} is no key; remove it to begin anew`);
  }
}

// watch calls changed when a file of the state folder is replaced, until the signal says stop.
async function watch(state, name, changed, signal) {
  try {
    for await (const { filename } of fs.promises.watch(state, { signal })) {
      if (filename === null || filename === name) changed();
    }
  } catch (e) {
    if (e.name !== 'AbortError') throw new fp.Unavailable(`watching ${state}: ${e.code ?? e.name}`);
  }
}

class Trust {
  constructor(authority) {
    this.authority = authority;
  }

  async bundle() {
    return { roots: [await this.authority.root()] };
  }
}

// Issued is a chain with its key, and when to renew it.
class Issued {
  constructor(chain, key) {
    const [begins, ends] = [chain[0].validFrom, chain[0].validTo].map((t) => Date.parse(t));
    Object.assign(this, { chain, key, ends, renew: begins + (ends - begins) * 2 / 3 });
  }
}

class Identity {
  #issued;
  #enrolling; // { key, done }: calls at the same time enrol once

  constructor(authority, name, state) {
    Object.assign(this, { authority, name, state });
    this.file = path.join(state, 'chain.pem');
    this.owner = `${name} ${authority.sha256}\n`; // begins the file: it is of no use for another name or authority
  }

  async identity() {
    const key = load(this.state, 'tls.pem', 'ec', { namedCurve: 'P-256' });
    if (!this.#issued?.key.equals(key)) this.#issued = this.#kept(key); // the first time, or another key is there
    let issued = this.#issued;
    if (issued === undefined || Date.now() >= issued.renew) {
      try {
        issued = await this.#enrol(key);
      } catch (e) {
        const now = Date.now();
        if (issued === undefined || now >= issued.ends) throw e;
        if (now >= issued.renew) { // the first of the calls that waited
          issued.renew = now + Math.min(60_000, (issued.ends - now) / 10) * (1 + Math.random()) / 2;
          const error = e instanceof fp.Failure ? e.message : e.name;
          fp.log.warn('cannot renew; the certificate of before serves on', { error });
        }
      }
    }
    return { chain: issued.chain, key: issued.key, refreshAfterMs: Math.max(1000, issued.renew - Date.now()) };
  }

  watch(changed, signal) {
    return watch(this.state, 'tls.pem', changed, signal);
  }

  #enrol(key) {
    if (!this.#enrolling?.key.equals(key)) {
      const enrolling = { key };
      enrolling.done = this.authority.enrol(key, this.name).then((chain) => {
        const issued = new Issued(chain, key);
        if (this.#enrolling === enrolling) { // otherwise the key has been replaced since
          this.#issued = issued;
          this.#keep(chain);
        }
        return issued;
      }).finally(() => {
        if (this.#enrolling === enrolling) this.#enrolling = undefined;
      });
      this.#enrolling = enrolling;
    }
    return this.#enrolling.done;
  }

  // keep writes the chain beside its key, so that the next process serves with it while the authority is away.
  #keep(chain) {
    try {
      fs.writeFileSync(`${this.file}.new`, this.owner + chain.join(''), { mode: 0o600 });
      fs.renameSync(`${this.file}.new`, this.file);
    } catch (e) {
      fp.log.warn('cannot keep the chain; the next process must enrol', { file: this.file, error: e.code });
    }
  }

  // kept returns what a process before this one was issued for the key, if it has not ended.
  #kept(key) {
    try {
      const text = fs.readFileSync(this.file, 'utf8');
      if (!text.startsWith(this.owner)) return undefined;
      const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
      const issued = new Issued(blocks.map((pem) => new crypto.X509Certificate(pem)), key);
      return issued.chain[0].checkPrivateKey(key) && Date.now() < issued.ends ? issued : undefined;
    } catch (e) {
      if (e.code !== 'ENOENT') {
        fp.log.warn('cannot use the chain that was kept', { file: this.file, error: e.code ?? e.name });
      }
      return undefined;
    }
  }
}

class Key {
  constructor(state) {
    this.state = state;
  }

  signingKeys() {
    return { active: load(this.state, 'message.pem', 'ed25519') };
  }

  watch(changed, signal) {
    return watch(this.state, 'message.pem', changed, signal);
  }
}

// tokenOf returns the token, which may come from a file that ends in a newline.
function tokenOf(secrets) {
  return String(secrets.token ?? '').replace(/\r?\n$/, '');
}

// validate throws fp.Config if the settings cannot work. It changes nothing and contacts nobody.
function validate(settings, secrets) {
  fp.only(settings, secrets, 'url', 'root-sha256', 'name', 'state', 'token');
  for (const name of ['url', 'root-sha256', 'name', 'state']) {
    if (!settings[name]) throw new fp.Config(`${name} is not set`, { field: name });
  }
  if (!/^https:/.test(settings.url) || !URL.canParse(settings.url)) {
    throw new fp.Config('url is no https URL', { field: 'url' });
  }
  if (!path.isAbsolute(settings.state)) throw new fp.Config('state is not absolute', { field: 'state' });
  if (/[^!-~]/.test(tokenOf(secrets))) {
    throw new fp.Config('token has a space, or a character that is not visible ASCII', { field: 'token' });
  }
}

// configure checks the settings and makes the providers. It contacts nobody: that is for the first pull.
function configure(settings, secrets) {
  validate(settings, secrets);
  const { url, 'root-sha256': sha256, name, state } = settings;
  try {
    fs.mkdirSync(state, { recursive: true, mode: 0o700 });
  } catch (e) {
    throw new fp.Config(`state: ${e.code}`, { field: 'state' });
  }
  const authority = new Authority(url, sha256, tokenOf(secrets));
  fp.log.info('configured', { name, url });
  return { trust: new Trust(authority), identity: new Identity(authority, name, state), key: new Key(state) };
}

await fp.serve('small-ca-node', '1.0.0', configure, { validate });
