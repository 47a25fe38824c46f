import { randomBytes } from 'node:crypto';
import { openStore } from '../../src/store/open.ts';
import { openVault } from '../../src/vault/vault.ts';

/**
 * A process that rotates the key of the data folder it is given, again and again, until it is killed or has done it `times`
 * times: what `millrace key rotate` does, without the second that a whole program takes to come up.
 */
const [dataDir = '', times = '1'] = process.argv.slice(2);
const store = await openStore({
  file: `${dataDir}/store.db`,
  now: () => new Date(),
  random: (bytes) => randomBytes(bytes),
});
const vault = await openVault({ dataDir, env: {}, secrets: store.secrets });
process.stdout.write('ready\n');
for (let done = 0; done < Number(times); done += 1) {
  const rotation = await vault.rotate({});
  process.stdout.write(`${JSON.stringify(rotation)}\n`);
}
await store[Symbol.asyncDispose]();
