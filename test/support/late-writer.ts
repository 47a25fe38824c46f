import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { MovingName } from './moving-source.ts';
import type { TestDatabase } from './postgres.ts';
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
  readonly database: TestDatabase;
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
  const client = await database.pool.connect();
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
    client.release();
  }
}

async function transaction(client: pg.PoolClient, options: Slot): Promise<void> {
  const { rng, slot, slots, stats, stopping } = options;
  const holdMs = options.holdMs ?? 800;
  const names: readonly MovingName[] = options.tables ?? ['orders', 'stock', 'events', 'prices'];
  await client.query('BEGIN');
  // Taken first and used last: everything written below carries the time at which the transaction began.
  const started = await client.query(
    `SELECT date_bin('100 ms', now(), 'epoch') AS at, nextval('numbers') / 5 AS seq`,
  );
  const values: Taken = { seq: String(started.rows[0].seq), slot, slots, rng };
  const holds = rng.chance(0.5) ? rng.int(0, holdMs) : rng.int(0, 40);
  const first = rng.int(0, holds);
  await pause(first, stopping);
  for (const name of names) if (rng.chance(0.7)) await writers[name](client, values);
  await pause(holds - first, stopping);
  const rollback = rng.int(1, 7) === 7;
  await client.query(rollback ? 'ROLLBACK' : 'COMMIT');
  if (rollback) stats.rolledBack += 1;
}

interface Taken {
  readonly seq: string;
  readonly slot: number;
  readonly slots: number;
  readonly rng: Rng;
}

const NOW = `date_bin('100 ms', now(), 'epoch')`;

const writers: Record<MovingName, (client: pg.PoolClient, taken: Taken) => Promise<void>> = {
  async orders(client, { slot, slots, rng }) {
    const at = rng.int(1, 2000) * slots + slot;
    await client.query(
      `UPDATE orders SET amount = amount + 1, at = ${NOW} WHERE id % ${slots} = ${slot} AND id BETWEEN $1 AND $1 + 200`,
      [at],
    );
    await client.query(
      `INSERT INTO orders (id, note, amount, at)
       SELECT n * ${slots} + ${slot}, md5(n::text), 1.5, ${NOW}
       FROM (SELECT nextval('numbers') + 10000000 AS n FROM generate_series(1, $1)) fresh`,
      [rng.int(1, 20)],
    );
    if (rng.chance(0.3)) await client.query(`DELETE FROM orders WHERE id = $1`, [at + 400 * slots]);
  },
  async stock(client, { seq, slot, slots, rng }) {
    const item = rng.int(1, 2000) * slots;
    await client.query(
      `UPDATE stock SET amount = amount + 1, version = $1 WHERE item % ${slots} = ${slot} AND item BETWEEN $2 AND $2 + 150`,
      [seq, item],
    );
    await client.query(
      `INSERT INTO stock SELECT 'new', nextval('numbers') * ${slots} + ${slot} + 1000000, 1, $1 FROM generate_series(1, $2)`,
      [seq, rng.int(1, 20)],
    );
    if (rng.chance(0.3)) await client.query(`DELETE FROM stock WHERE item = $1`, [item + 400 * slots + slot]);
  },
  async events(client, { seq, rng }) {
    // Whole rows repeat on purpose: without a key, equal rows are as many rows as the source says.
    await client.query(`INSERT INTO events SELECT $1, 'k' || n % 2, 'same' FROM generate_series(1, $2) n`, [
      seq,
      rng.int(1, 12),
    ]);
  },
  async prices(client, { slot, slots, rng }) {
    const id = rng.int(1, 2000) * slots;
    await client.query(
      `UPDATE prices SET price = price + 1, at = now() WHERE id % ${slots} = ${slot} AND id BETWEEN $1 AND $1 + 100`,
      [id],
    );
  },
};

/** Sleeps, shorter when the writer is told to stop. */
async function pause(ms: number, stopping: AbortSignal): Promise<void> {
  if (ms <= 0 || stopping.aborted) return;
  await sleep(ms, undefined, { signal: stopping }).catch(() => undefined);
}
