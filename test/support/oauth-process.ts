import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLoneHost } from '../../src/connectors/lone-host.ts';
import { openStore } from '../../src/store/open.ts';
import { createKeptSecrets } from '../../src/vault/kept-secrets.ts';
import { openVault } from '../../src/vault/vault.ts';
import { clientOf, get, textOf } from './http-support.ts';
import { CLIENT_SECRET } from './oauth.ts';

/**
 * One of several processes that share a data folder and a refresh token that rotates:
 * `node oauth-process.ts DIR API TOKEN_URL REFRESH_TOKEN MILLISECONDS`. It says how many of its requests went well.
 */
async function work([
  dir = '',
  api = '',
  token_url = '',
  refresh_token = '',
  ms = '0',
]: readonly string[]): Promise<void> {
  const random = (bytes: number): Uint8Array => randomBytes(bytes);
  await using store = await openStore({ file: join(dir, 'store.db'), now: () => new Date(), random });
  const vault = await openVault({ dataDir: dir, env: {}, secrets: store.secrets });
  const secrets = createKeptSecrets('crm', { vault, leases: store.leases, holder: `test:${process.pid}` });
  const end = Date.now() + Number(ms);
  let well = 0;
  while (Date.now() < end) {
    // A client anew each time, as each run has one: nothing is remembered but what is kept.
    await using client = clientOf(
      api,
      {
        auth: {
          type: 'oauth2_refresh_token',
          token_url,
          client_id: 'web',
          client_secret: CLIENT_SECRET,
          refresh_token,
        },
      },
      { host: { ...createLoneHost(), secrets } },
    );
    await Promise.all([textOf(client, get(api)), textOf(client, get(api))]);
    well += 2;
    await sleep(Math.random() * 50);
  }
  process.stdout.write(String(well));
}

await work(process.argv.slice(2));
