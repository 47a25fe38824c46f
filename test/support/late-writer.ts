import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, ServerDatabase } from './databases.ts';
import type { Dialect } from './dialects.ts';
import { type MovingName, movingNames, NUMBERS } from './moving-source.ts';
import type { Rng } from './rng.ts';

/**
 * The second writer of the fault suites: several overlapping transactions that take their cursor value when
 * they begin, write, and commit after others that began later; every seventh rolls back. Each slot owns the
 * rows of its own remainder, so that transactions overlap in time and never wait for one another.
 */
export interface LateWriter {
  /** Lets the open transactions end and stops. Throws what a transaction failed with. */
  stop(): Promise<WriterStats>;
}

export interface WriterStats {
  readonly transactions: number;
  readonly rolledBack: number;
  /** Commits that came after the commit of a transaction that had begun later: what the guard is for. */
  readonly late: number;
}

export interface WriterOptions {
  readonly database: ServerDatabase;
  readonly rng: Rng;
  readonly slots?: number;
  /** The longest a transaction stays open, in milliseconds. */
  readonly holdMs?: number;
  readonly tables?: readonly MovingName[];
}

export function startLateWriter(options: WriterOptions): LateWriter {
  const slots = options.slots ?? 4;
  const stats = { transactions: 0, rolledBack: 0, late: 0, begun: 0, newest: 0 };
  const stopping = new AbortController();
  const work = Array.from({ length: slots }, (_, slot) =>
    write({
      ...options,
      slot,
      slots,
      stats,
      stopping: stopping.signal,
      rng: options.rng.fork(`slot ${slot}`),
    }),
  );
  // A slot that fails early is reported by stop, not as an unhandled rejection.
  for (const slot of work) slot.catch(() => undefined);
  return {
    async stop() {
      stopping.abort();
      await Promise.all(work);
      const { transactions, rolledBack, late } = stats;
      return { transactions, rolledBack, late };
    },
  };
}

interface Slot extends WriterOptions {
  readonly slot: number;
  readonly slots: number;
  readonly stopping: AbortSignal;
  readonly stats: { transactions: number; rolledBack: number; late: number; begun: number; newest: number };
}

async function write(options: Slot): Promise<void> {
  const { database, rng, stopping, stats } = options;
  const client = await database.client();
  try {
    while (!stopping.aborted) {
      const begun = ++stats.begun;
      await transaction(client, options);
      stats.transactions += 1;
      if (begun < stats.newest) stats.late += 1;
      else stats.newest = begun;
      if (!stopping.aborted) await sleep(rng.int(0, 30));
    }
  } finally {
    await client.release();
  }
}

async function transaction(client: Client, options: Slot): Promise<void> {
  const { database, rng, slot, slots, stats, stopping } = options;
  const holdMs = options.holdMs ?? 800;
  await client.query('BEGIN');
  // Taken first and used last: everything written below carries the number and the time of the beginning.
  const { n, at } = await draw(client, database.dialect);
  const taken: Taken = {
    dialect: database.dialect,
    seq: database.dialect.over(`${n}`, 5),
    at,
    slot,
    slots,
    rng,
  };
  const holds = rng.chance(0.5) ? rng.int(0, holdMs) : rng.int(0, 40);
  const first = rng.int(0, holds);
  await pause(first, stopping);
  for (const name of options.tables ?? movingNames) if (rng.chance(0.7)) await writers[name](client, taken);
  await pause(holds - first, stopping);
  const rollback = rng.int(1, 7) === 7;
  await client.query(rollback ? 'ROLLBACK' : 'COMMIT');
  if (rollback) stats.rolledBack += 1;
}

interface Taken {
  readonly dialect: Dialect;
  /** The drawn number as a cursor, SQL. */
  readonly seq: string;
  /** The moment it was drawn, SQL. */
  readonly at: string;
  readonly slot: number;
  readonly slots: number;
  readonly rng: Rng;
}

/** A number nobody else has, and the moment of it, SQL. */
async function draw(
  client: Client,
  { counter, literal }: Dialect,
): Promise<{ readonly n: number; readonly at: string }> {
  let row: Readonly<Record<string, unknown>> | undefined;
  for (const sql of counter.draw(NUMBERS)) [row] = await client.query(sql);
  return { n: Number(row?.['n']), at: literal(String(row?.['at'])) };
}

const writers: Record<MovingName, (client: Client, taken: Taken) => Promise<void>> = {
  async orders(client, { dialect, at, slot, slots, rng }) {
    const id = rng.int(1, 2000) * slots + slot;
    const { n } = await draw(client, dialect);
    await client.query(
      `UPDATE orders SET amount = amount + 1, at = ${at} WHERE id % ${slots} = ${slot} AND id BETWEEN ${id} AND ${id + 200}`,
    );
    await client.query(
      `INSERT INTO orders SELECT ${n} * 100 + 10000000 + n, concat('fresh ', n), 1.5, ${at} FROM ${dialect.series(rng.int(1, 20))}`,
    );
    if (rng.chance(0.3)) await client.query(`DELETE FROM orders WHERE id = ${id + 400 * slots}`);
  },
  async stock(client, { dialect, seq, slot, slots, rng }) {
    const item = rng.int(1, 2000) * slots;
    const { n } = await draw(client, dialect);
    await client.query(
      `UPDATE stock SET amount = amount + 1, version = ${seq} WHERE item % ${slots} = ${slot} AND item BETWEEN ${item} AND ${item + 150}`,
    );
    await client.query(
      `INSERT INTO stock SELECT 'new', ${n} * 100 + 1000000 + n, 1, ${seq} FROM ${dialect.series(rng.int(1, 20))}`,
    );
    // By its whole key: a scan would wait for rows that others hold.
    const old = item + 400 * slots + slot;
    if (rng.chance(0.3))
      await client.query(`DELETE FROM stock WHERE place = 'p${old % 7}' AND item = ${old}`);
  },
  async events(client, { dialect, seq, rng }) {
    // Whole rows repeat on purpose: without a key, equal rows are as many rows as the source says.
    await client.query(
      `INSERT INTO events SELECT ${seq}, concat('k', n % 2), 'same' FROM ${dialect.series(rng.int(1, 12))}`,
    );
  },
  async prices(client, { at, slot, slots, rng }) {
    const id = rng.int(1, 2000) * slots;
    await client.query(
      `UPDATE prices SET price = price + 1, at = ${at} WHERE id % ${slots} = ${slot} AND id BETWEEN ${id} AND ${id + 100}`,
    );
  },
};

/** Sleeps, shorter when the writer is told to stop. */
async function pause(ms: number, stopping: AbortSignal): Promise<void> {
  if (ms <= 0 || stopping.aborted) return;
  await sleep(ms, undefined, { signal: stopping }).catch(() => undefined);
}
