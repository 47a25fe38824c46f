import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../src/core/errors.ts';
import { openStore } from '../../src/store/open.ts';
import { connector } from './store-support.ts';

/**
 * One process of several that hammer one store: `node store-process.ts DIR MILLISECONDS`. A file a connector, made
 * exclusively while a claim is held, shows when two hold it at once. Each line of its output is what it did.
 */

export const HAMMERED = ['a', 'b', 'c', 'd'] as const;
export const HAMMER_LEASE_MS = 300;
/** A machine that is busy with something else takes longer, and does not do less. */
export const HAMMER_CLAIMS_MIN = 30;

export type Did =
  | { readonly did: 'enqueued'; readonly run_id: string }
  | { readonly did: 'claimed'; readonly run_id: string; readonly connector: string; readonly epoch: number }
  | { readonly did: 'finished'; readonly run_id: string }
  | { readonly did: 'shut out'; readonly run_id: string }
  | { readonly did: 'overlap'; readonly connector: string };

async function hammer(dir: string, ms: number): Promise<void> {
  await using store = await openStore({
    file: join(dir, 'store.db'),
    now: () => new Date(),
    random: randomBytes,
  });
  for (const name of HAMMERED)
    await store.connectors.insert(connector(name)).catch(ignore('connector_exists'));
  const holder = `p${process.pid}`;
  const end = Date.now() + ms;
  let claims = 0;
  for (let round = 0; Date.now() < end || claims < HAMMER_CLAIMS_MIN; round += 1) {
    const name = HAMMERED[Math.floor(Math.random() * HAMMERED.length)] ?? 'a';
    const queued = await store.runs
      .enqueue({ connector: name, trigger: 'manual', fullRefresh: false })
      .catch(ignore('run_in_progress'));
    if (queued) say({ did: 'enqueued', run_id: queued.run_id });
    const claim = await store.runs.claim(holder, HAMMER_LEASE_MS);
    if (!claim) continue;
    claims += 1;
    const { run_id, epoch } = claim;
    say({ did: 'claimed', run_id, epoch, connector: claim.connector });
    const file = join(dir, `held-${claim.connector}`);
    if (isHeld(file, Date.now())) say({ did: 'overlap', connector: claim.connector });
    for (let beat = 0; beat < 3; beat += 1) {
      const before = Date.now();
      if ((await store.runs.heartbeat(claim, HAMMER_LEASE_MS, [])) !== 'held') break;
      hold(file, before + HAMMER_LEASE_MS);
      await sleep(Math.random() * 3);
    }
    letGo(file);
    if (round % 20 === 19) await sleep(HAMMER_LEASE_MS + 100); // a holder that was asleep comes back as a zombie
    const finished = await store.runs.finish(claim, { status: 'succeeded', streams: [] });
    say({ did: finished ? 'finished' : 'shut out', run_id });
  }
}

interface Held {
  readonly pid: number;
  /** When the lease ends at the earliest. */
  readonly until: number;
}

/** Whether another living process has a lease that cannot have ended when this one was given its claim. */
function isHeld(file: string, claimedBefore: number): boolean {
  const other = read(file);
  return other !== null && other.pid !== process.pid && other.until > claimedBefore && isAlive(other.pid);
}

function hold(file: string, until: number): void {
  writeFileSync(`${file}.${process.pid}`, JSON.stringify({ pid: process.pid, until } satisfies Held));
  renameSync(`${file}.${process.pid}`, file); // whole or not at all for whoever reads it meanwhile
}

function letGo(file: string): void {
  if (read(file)?.pid === process.pid) rmSync(file, { force: true });
}

function read(file: string): Held | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Held;
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function ignore(code: string): (error: unknown) => null {
  return (error) => {
    if (error instanceof MillraceError && error.code === code) return null;
    throw error;
  };
}

function say(what: Did): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

const [, , dir, ms] = process.argv;
if (process.argv[1] === import.meta.filename && dir !== undefined) await hammer(dir, Number(ms));
