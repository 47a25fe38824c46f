import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type Did, HAMMER_CLAIMS_MIN, HAMMER_LEASE_MS, HAMMERED } from './store-process.ts';
import { open, scratch } from './store-support.ts';

interface Ended {
  readonly did: readonly Did[];
  readonly code: number | null;
  readonly errors: string;
}

/** Starts a hammering process; SIGKILLs it after `killAfterMs`. */
function hammer(
  dir: string,
  { ms, killAfterMs }: { readonly ms: number; readonly killAfterMs?: number },
): Promise<Ended> {
  const script = join(import.meta.dirname, 'store-process.ts');
  const child = spawn(process.execPath, [script, dir, String(ms)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.on('data', (data: Buffer) => {
    output += String(data);
  });
  child.stderr.on('data', (data: Buffer) => {
    errors += String(data);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs ?? ms + 20_000);
  return new Promise((done) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      const lines = output.split('\n').slice(0, -1); // a killed process may leave half a line
      done({ did: lines.map((line) => JSON.parse(line) as Did), code, errors });
    });
  });
}

test('five processes on one new file, one of them killed: nothing twice, nothing lost', async () => {
  using folder = scratch();
  const ms = 4_000;
  const killAfterMs = [undefined, undefined, undefined, undefined, 2_000];
  const ended = await Promise.all(
    killAfterMs.map((kill) => hammer(folder.dir, { ms, ...(kill ? { killAfterMs: kill } : {}) })),
  );
  expect(ended.map(({ errors }) => errors).join('')).toBe('');
  expect(ended.map(({ code }) => code)).toEqual([0, 0, 0, 0, null]);

  const did = ended.flatMap((one) => one.did);
  expect(did.filter((one) => one.did === 'overlap')).toEqual([]);
  const claims = did.filter((one) => one.did === 'claimed');
  expect(claims.length).toBeGreaterThanOrEqual(4 * HAMMER_CLAIMS_MIN);
  for (const name of HAMMERED) {
    const epochs = claims.filter(({ connector }) => connector === name).map(({ epoch }) => epoch);
    expect(new Set(epochs).size).toBe(epochs.length);
  }
  const finished = did.filter((one) => one.did === 'finished').map(({ run_id }) => run_id);
  expect(new Set(finished).size).toBe(finished.length);
  expect(did.some((one) => one.did === 'shut out')).toBe(true);

  await sleep(HAMMER_LEASE_MS);
  await using store = await open(folder.file, () => new Date());
  for (
    let claim = await store.runs.claim('last', 10_000);
    claim;
    claim = await store.runs.claim('last', 10_000)
  ) {
    expect(await store.runs.finish(claim, { status: 'succeeded', streams: [] })).toBe(true);
  }
  const counts = await store.runs.counts();
  const enqueued = did.filter((one) => one.did === 'enqueued').map(({ run_id }) => run_id);
  for (const id of enqueued) expect((await store.runs.get(id)).status).toBe('succeeded');
  expect(counts).toMatchObject({ queued: 0, running: 0 });
  // The killed process may have stored one that it could not tell of any more.
  expect(counts.succeeded - enqueued.length).toBeGreaterThanOrEqual(0);
  expect(counts.succeeded - enqueued.length).toBeLessThanOrEqual(1);
  expect(await store.integrity()).toBeNull();
}, 60_000);

test('ten processes that open one new file at the same moment all succeed', async () => {
  for (let round = 0; round < 3; round += 1) {
    using folder = scratch();
    const ended = await Promise.all(Array.from({ length: 10 }, () => hammer(folder.dir, { ms: 1 })));
    expect(ended.map(({ errors }) => errors).join('')).toBe('');
    expect(ended.every(({ code }) => code === 0)).toBe(true);
  }
}, 60_000);
