// A plugin whose one call waits, and that tells in files what happens to it: the test of how a configuration ends.

import fs from 'node:fs';
import path from 'node:path';
import * as fp from '../handshake.mjs';

let configurations = 0;

function configure(settings, secrets) {
  fp.only(settings, secrets, 'dir', 'again');
  const number = ++configurations;
  const at = (name) => path.join(settings.dir, name);
  const tell = (what) => fs.writeFileSync(at(`${what}-${number}`), '');
  let open = true;
  return {
    trust: {
      async bundle() {
        tell('called');
        while (!fs.existsSync(at('release'))) await new Promise((resolve) => setTimeout(resolve, 5));
        throw new fp.Unavailable(open ? 'open to the end' : 'closed under the call');
      },
      async watch(changed, signal) {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        tell('watch-ended');
      },
    },
    close() {
      open = false;
      tell('closed');
    },
  };
}

await fp.serve('slow', '1.0.0', configure);
