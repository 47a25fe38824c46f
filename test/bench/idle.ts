import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import BetterSqlite from 'better-sqlite3';
import { BREAKER_RULES } from '../../src/core/breaker.ts';
import { openStore } from '../../src/store/open.ts';
import { cpuMs, memoryMb } from './processes.ts';

/** What the program takes while nothing is due and nobody asks. */
export interface IdleResult {
  readonly connectors: number;
  /** Of one core. */
  readonly cpuPercent: number;
  readonly memoryMb: number;
}

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
/** After the plan is made: what that allocated is given back by then. */
const SETTLE_MS = 10_000;

/** So many connectors scheduled hourly, none of them due while it is measured, in the built program. */
export async function measureIdle(connectors: number, seconds: number): Promise<IdleResult> {
  if (!existsSync(MAIN)) throw new Error('dist/main.js is not there: run `npm run build` first.');
  const folder = await mkdtemp(join(tmpdir(), 'millrace-idle-'));
  const config = join(folder, 'config.json');
  const dataDir = join(folder, 'data');
  await writeFile(config, JSON.stringify({ millrace: { scheduler: { healthCheck: 'off' } } }));
  const start = (): ReturnType<typeof spawn> =>
    spawn(process.execPath, [MAIN, '--config', config, '--data-dir', dataDir, '--log-level', 'warn'], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
  const file = join(dataDir, 'store.db');
  const planned = `SELECT count(*) FROM schedules WHERE due_at IS NOT NULL`;
  let millrace = start();
  try {
    await until(() => count(file, planned) === 0);
    millrace.kill('SIGTERM');
    await once(millrace, 'exit');
    await fill(file, connectors);
    millrace = start();
    await until(() => count(file, planned) === connectors);
    await sleep(SETTLE_MS);
    const pid = millrace.pid ?? 0;
    const before = cpuMs(pid);
    await sleep(seconds * 1_000);
    return {
      connectors,
      cpuPercent: (cpuMs(pid) - before) / (10 * seconds),
      memoryMb: memoryMb(pid),
    };
  } finally {
    millrace.kill('SIGTERM');
    await rm(folder, { recursive: true, force: true });
  }
}

async function fill(file: string, connectors: number): Promise<void> {
  const now = (): Date => new Date();
  await using store = await openStore({ file, now, random: randomBytes, breaker: BREAKER_RULES });
  const schedule = `${(now().getUTCMinutes() + 30) % 60} * * * *`;
  for (let at = 0; at < connectors; at += 1) {
    const name = `shop_${at}`;
    const config = { host: '127.0.0.1', port: 1, database: name, username: 'reader' };
    const streams = [{ name: 'orders', table: 'public.orders' }];
    await store.connectors.insert({ name, type: 'postgresql', config, streams, schedule, enabled: true });
  }
}

/** Null while the file is not there, or not ready. */
function count(file: string, sql: string): number | null {
  if (!existsSync(file)) return null;
  const db = new BetterSqlite(file, { readonly: true });
  try {
    return db.prepare(sql).pluck().get() as number;
  } catch {
    return null;
  } finally {
    db.close();
  }
}

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 120_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error('The program did not get ready within two minutes.');
    await sleep(100);
  }
}
