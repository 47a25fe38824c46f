import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Mode } from '../../src/core/model.ts';
import { openSqliteDestination } from '../../src/destinations/index.ts';
import {
  type Broken,
  histories,
  type LandedRow,
  play,
  type Seen,
  type World,
} from '../support/model-history.ts';
import { testSeed } from '../support/rng.ts';

/**
 * Invariants 1 and 2 as a model: the real SQLite destination, a source in memory, two processes, a crash at any
 * step. A row lost or doubled, a zombie that writes or a mark above a missing row fails the history that did
 * it, shrunk and with its seed. Three broken variants see to it that the model can fail.
 */

const RUNS = Number(process.env['MILLRACE_MODEL_RUNS'] ?? 300);
let directory: string;
let world: SharedWorld;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-model-'));
  world = sharedWorld(directory);
});

afterAll(() => {
  world.close();
  rmSync(directory, { recursive: true, force: true });
});

for (const mode of ['merge', 'append', 'replace'] as const satisfies readonly Mode[]) {
  test(`${mode}: no row lost or doubled, zombies refused, whatever crashes when`, {
    timeout: 180_000,
  }, async () => {
    const seen: Seen = { histories: 0, crashes: 0, zombies: 0, rejects: 0, rows: 0 };
    await fc.assert(law(mode, {}, seen), { numRuns: RUNS, seed: testSeed() });
    // A model that met none of the troubles it is about has shown nothing.
    expect(seen.crashes).toBeGreaterThan(RUNS / 4);
    expect(seen.zombies).toBeGreaterThan(RUNS / 4);
    expect(seen.rejects).toBeGreaterThan(RUNS / 10);
    expect(seen.rows).toBeGreaterThan(RUNS * 2);
  });
}

const controls: readonly { readonly name: string; readonly mode: Mode; readonly broken: Broken }[] = [
  { name: 'a cursor stored apart, before its rows', mode: 'merge', broken: { cursorApart: 'before' } },
  { name: 'a cursor stored apart, after its rows', mode: 'append', broken: { cursorApart: 'after' } },
  { name: 'a mark that does not wait for open transactions', mode: 'merge', broken: { guardOff: true } },
  { name: 'processes that share one epoch', mode: 'append', broken: { fenceOff: true } },
];

for (const { name, mode, broken } of controls) {
  test(`control: ${name} is found faulty`, { timeout: 180_000 }, async () => {
    const seen: Seen = { histories: 0, crashes: 0, zombies: 0, rejects: 0, rows: 0 };
    const outcome = await fc.check(law(mode, broken, seen), {
      numRuns: 1500,
      seed: testSeed(),
      endOnFailure: true,
    });
    expect(outcome.failed).toBe(true);
    expect(String(outcome.errorInstance)).toMatch(/is lost|is doubled|is not here|landed as|wrote \d+ rows/);
  });
}

function law(mode: Mode, broken: Broken, seen: Seen): fc.IAsyncProperty<unknown> {
  return fc.asyncProperty(histories(mode), async (history) => {
    await play(history, { world, connector: world.next(), broken, seen });
  });
}

interface SharedWorld extends World {
  /** A connector for the next history. A file serves a few: making one costs, and so does one with many tables. */
  next(): string;
  close(): void;
}

const HISTORIES_A_FILE = 25;

function sharedWorld(directory: string): SharedWorld {
  let used = 0;
  let file = '';
  let reader: DatabaseSync | null = null;
  const query = <T>(sql: string, ...values: readonly SQLInputValue[]): T[] => {
    reader ??= new DatabaseSync(file, { readOnly: true });
    return reader.prepare(sql).all(...values) as T[];
  };
  return {
    next() {
      if (used % HISTORIES_A_FILE === 0) {
        reader?.close();
        reader = null;
        file = join(directory, `${used}.db`);
      }
      used += 1;
      return `h${used}`;
    },
    openDestination: () => openSqliteDestination(file),
    landed(connector) {
      const table = `${connector}__rows`;
      const known = query('select 1 from sqlite_master where name = ?', table).length > 0;
      return known ? query<LandedRow>(`select id, c, v from "${table}" order by id`) : [];
    },
    rejects: (connector) =>
      query<{ n: number }>('select count(*) as n from _millrace_rejects where connector = ?', connector)[0]
        ?.n ?? 0,
    close: () => reader?.close(),
  };
}
