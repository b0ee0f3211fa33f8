// A plugin for a test: its keys are in a KMS, which is the test's. Settings: url, schemes (comma-separated numbers).

import crypto from 'node:crypto';
import * as fp from '../handshake.mjs';

class Node {
  constructor(url, schemes) {
    Object.assign(this, { url, schemes });
  }

  async ask(path, options) {
    const response = await fetch(this.url + path, { ...options, signal: AbortSignal.timeout(20_000) });
    if (response.status === 403) throw new fp.PermissionDenied('the KMS refuses');
    if (!response.ok) throw new Error(`the KMS answers ${response.status}`);
    return response.status === 204 ? undefined : Buffer.from(await response.arrayBuffer());
  }

  async key(name, schemes) {
    const der = await this.ask(`/public/${name}`);
    return new fp.RemoteKey({
      publicKey: crypto.createPublicKey({ key: der, format: 'der', type: 'spki' }),
      sign: (body, { algorithm, hash, saltLength: salt }) => {
        return this.ask(`/sign/${name}?${new URLSearchParams({ algorithm, hash, salt })}`, { method: 'POST', body });
      },
      schemes,
    });
  }

  async bundle() {
    return { roots: [await this.ask('/root')] };
  }

  async identity() {
    const key = await this.key('tls', this.schemes);
    const p256 = key.publicKey.asymmetricKeyDetails.namedCurve === 'prime256v1';
    const body = p256 ? this.csr ??= await fp.signingRequest({ key, dnsNames: ['a.example'] }) : '';
    return { chain: [await this.ask('/chain', { method: 'POST', body })], key };
  }

  async signingKeys() {
    return { active: await this.key('message') };
  }
}

function configure(settings, secrets) {
  fp.only(settings, secrets, 'url', 'schemes');
  const node = new Node(settings.url, settings.schemes ? settings.schemes.split(',').map(Number) : undefined);
  return { trust: node, identity: node, key: node };
}

await fp.serve('remote', '1.0.0', configure);
