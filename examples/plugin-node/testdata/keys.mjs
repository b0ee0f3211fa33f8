// A plugin for the test of handshake.mjs: an identity with a key of the type that the settings name, once there is
// an authority for it in memory.

import crypto from 'node:crypto';
import * as fp from '../handshake.mjs';

const types = {
  ed25519: ['ed25519'],
  'P-256': ['ec', { namedCurve: 'P-256' }],
  'P-384': ['ec', { namedCurve: 'P-384' }],
  'P-521': ['ec', { namedCurve: 'P-521' }],
  'RSA-2048': ['rsa', { modulusLength: 2048 }],
  'RSA-2049': ['rsa', { modulusLength: 2049 }], // PSS: an octet of the modulus that is no octet of the padding
  'RSA-2055': ['rsa', { modulusLength: 2055 }],
};

function configure(settings, secrets) {
  fp.only(settings, secrets, 'type');
  const { privateKey: root } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { privateKey: key } = crypto.generateKeyPairSync(...types[settings.type]);
  const roots = [fp.certificate({ name: 'CA', key: root, days: 30, ca: true })];
  const chain = [fp.certificate({ name: 'a', key, issuer: 'CA', issuerKey: root, days: 1, dnsNames: ['a.example'] })];
  return {
    trust: { bundle: () => ({ roots }) },
    identity: { identity: () => ({ chain, key, refreshAfterMs: 1234.5 }) },
  };
}

await fp.serve('keys', '1.0.0', configure);
