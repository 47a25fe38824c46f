import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openWarehouse } from '../../src/destinations/index.ts';
import {
  batchOf,
  failure,
  freshFile,
  land,
  read,
  requestOf,
  streamOf,
  withWriter,
  write,
} from './sqlite-support.ts';

const caps = { timeoutMs: 5000, maxRows: 1, maxBytes: 1000 };
const never = new AbortController().signal;
const script = fileURLToPath(new URL('./sqlite-process.ts', import.meta.url));

interface Writing {
  readonly child: ChildProcess;
  /** Every line so far. */
  readonly lines: () => readonly string[];
  readonly ended: Promise<number | null>;
}

function start(
  file: string,
  what: string,
  options: { readonly epoch: number; readonly rows: number },
): Writing {
  const child = spawn(process.execPath, [script, file, what, String(options.epoch), String(options.rows)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return { child, lines: () => text.split('\n').slice(0, -1), ended };
}

async function until(writing: Writing, lines: number): Promise<void> {
  for (let tries = 0; writing.lines().length < lines && tries < 2000; tries += 1) {
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 5)), writing.ended]);
  }
  expect(writing.lines().length).toBeGreaterThanOrEqual(lines);
}

describe('several processes on one file', () => {
  it('may all make it at once', async () => {
    const file = freshFile();
    const all = Array.from({ length: 6 }, (_, index) => start(file, `s${index}`, { epoch: 1, rows: 200 }));
    expect(await Promise.all(all.map(({ ended }) => ended))).toEqual(Array(6).fill(0));
    for (let index = 0; index < 6; index += 1) {
      expect(read(file, `SELECT count(*) FROM shop__s${index}`)).toEqual([[200n]]);
    }
    expect(read(file, 'PRAGMA integrity_check')).toEqual([['ok']]);
  });

  it('write in turns, and readers are never in the way', async () => {
    const file = freshFile();
    const all = ['a', 'b', 'c'].map((name) => start(file, name, { epoch: 1, rows: 6000 }));
    await using warehouse = openWarehouse(file);
    let reads = 0;
    let running = true;
    const done = Promise.all(all.map(({ ended }) => ended)).finally(() => {
      running = false;
    });
    while (running) {
      for (const table of warehouse.tables({}))
        expect(table.rows % 37 === 0 || table.rows === 6000).toBe(true);
      reads += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(await done).toEqual([0, 0, 0]);
    expect(reads).toBeGreaterThan(3);
    expect(warehouse.tables({}).map(({ rows }) => rows)).toEqual([6000, 6000, 6000]);
  });
});

describe('a process that is killed while it writes', () => {
  it.each(['merge', 'replace', 'append'] as const)(
    '%s: everything acknowledged is there with its position, and nothing else',
    async (what) => {
      const file = freshFile();
      const rows = 60_000;
      let acknowledged = 0;
      let kills = 0;
      let epoch = 0;
      for (let finished = false; !finished; ) {
        epoch += 1;
        const writing = start(file, what, { epoch, rows });
        if (kills < 12) {
          await until(writing, 2 + ((epoch * 5) % 9));
          writing.child.kill('SIGKILL');
          kills += 1;
        }
        finished = (await writing.ended) === 0;
        const lines = writing.lines();
        const opened = Number(lines[0]?.split(' ')[1] ?? acknowledged);
        // A build is begun anew; what was committed otherwise is where the next one goes on.
        if (what === 'replace') expect(opened).toBe(0);
        else expect(opened).toBeGreaterThanOrEqual(acknowledged);
        acknowledged = Math.max(opened, ...lines.map(Number).filter((line) => !Number.isNaN(line)));
        if (what !== 'replace' || finished) {
          const [count, distinct] =
            read(file, `SELECT count(*), count(DISTINCT id) FROM shop__${what}`)[0] ?? [];
          const [cursor, kept] = read(file, 'SELECT cursor, row_count FROM _millrace_cursors')[0] ?? [];
          expect(Number(count)).toBe(Number(cursor));
          expect(kept).toBe(count);
          expect(distinct).toBe(count);
          expect(Number(count)).toBeGreaterThanOrEqual(acknowledged);
        } else {
          expect(read(file, "SELECT count(*) FROM sqlite_schema WHERE name = 'shop__replace'")).toEqual([
            [0n],
          ]);
        }
        expect(epoch).toBeLessThan(30);
      }
      expect(kills).toBe(12);
      expect(read(file, `SELECT count(*), count(DISTINCT id), max(id) FROM shop__${what}`)).toEqual([
        [60_000n, 60_000n, 59_999n],
      ]);
      expect(read(file, 'SELECT sum(rows_written) FROM _millrace_loads')[0]?.[0]).toBeGreaterThanOrEqual(
        4000n,
      );
      expect(read(file, 'PRAGMA integrity_check')).toEqual([['ok']]);
    },
    120_000,
  );

  it('and lives on as a zombie is shut out by the next', async () => {
    const file = freshFile();
    const zombie = start(file, 'merge', { epoch: 1, rows: 200_000 });
    await until(zombie, 3);
    await withWriter(
      file,
      requestOf(streamOf({ name: 'merge' }), { epoch: 2, runId: 'run2' }),
      async (writer) => {
        const from = writer.cursor;
        expect(await zombie.ended).not.toBe(0);
        await writer.commit(batchOf([[-1, 'mine']], 'mine'));
        expect(Number(from)).toBeGreaterThan(0);
        const [count] = read(file, "SELECT count(*) FROM shop__merge WHERE _mr_run = 'run1'")[0] ?? [];
        expect(String(count)).toBe(from);
      },
    );
  });
});

describe('the write-ahead log', () => {
  it('does not stay large when the writing is over, also while somebody has the file open', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), [[1, 'a']]);
    await using warehouse = openWarehouse(file);
    warehouse.tables({});
    await withWriter(file, requestOf(streamOf({ name: 'big' })), async (writer) => {
      for (let batch = 0; batch < 30; batch += 1) {
        await writer.commit(
          batchOf(
            Array.from({ length: 1000 }, (_, row) => [batch * 1000 + row, 'x'.repeat(600)]),
            `${batch}`,
          ),
        );
      }
    });
    expect(statSync(file).size).toBeGreaterThan(15_000_000);
    expect(statSync(`${file}-wal`).size).toBeLessThan(100_000);
    expect(warehouse.sizeBytes()).toBeLessThan(statSync(file).size + 200_000);
  });
});

describe('dropping a connector', () => {
  it('removes its tables and everything kept about it, shuts its runs out, and leaves the others', async () => {
    const file = freshFile();
    for (const connector of ['shop', 'other']) {
      await land(file, requestOf(streamOf(), { connector }), [
        [1, 'a'],
        [null, 'bad'],
      ]);
      await land(file, requestOf(streamOf({ name: 'log', mode: 'append' }), { connector }), [[1, 'a']]);
    }
    await withWriter(file, requestOf(streamOf({ name: 'copy', mode: 'replace' })), (writer) =>
      writer.commit(batchOf([[1, 'a']], 'c')),
    );
    await using warehouse = openWarehouse(file);
    const running = await withWriter(file, requestOf(streamOf(), { epoch: 2 }), async (writer) => {
      await warehouse.drop('shop');
      return await failure(writer.commit(batchOf([[2, 'zombie']], 'z')));
    });
    expect(running.code).toBe('run_lost');
    expect(warehouse.tables({}).map(({ table }) => table)).toEqual(['other__log', 'other__orders']);
    expect(warehouse.states('shop')).toEqual([]);
    const names = read(file, "SELECT name FROM sqlite_schema WHERE name LIKE '%shop%'").flat();
    expect(names).toEqual([]);
    for (const table of ['columns', 'rejects', 'loads', 'overlap']) {
      expect(read(file, `SELECT count(*) FROM _millrace_${table} WHERE connector = 'shop'`), table).toEqual([
        [0n],
      ]);
    }
    expect(read(file, "SELECT count(*) FROM _millrace_rejects WHERE connector = 'other'")).toEqual([[1n]]);
    expect(await failure(land(file, requestOf(streamOf(), { epoch: 2 }), [[2, 'zombie']]))).toMatchObject({
      code: 'run_lost',
    });
    await land(file, requestOf(streamOf(), { epoch: 9 }), [[5, 'new']]);
    expect(read(file, 'SELECT id FROM shop__orders')).toEqual([[5n]]);
  });

  it('of which nothing has landed does nothing, also without a file', async () => {
    await using none = openWarehouse(freshFile());
    await none.drop('shop');
    expect(none.tables({})).toEqual([]);
    expect(none.states('shop')).toEqual([]);
    expect(none.sizeBytes()).toBe(0);
    expect(await none.problem()).toBeNull();
    const file = freshFile();
    await land(file, requestOf(streamOf()), [[1, 'a']]);
    await using warehouse = openWarehouse(file);
    await warehouse.drop('nothing');
    expect(warehouse.tables({})).toHaveLength(1);
    expect(warehouse.tables({ connector: 'nothing' })).toEqual([]);
    expect(warehouse.tables({ table: 'shop__orders' })).toMatchObject([
      { connector: 'shop', stream: 'orders', rows: 1 },
    ]);
    expect(warehouse.sizeBytes()).toBeGreaterThan(0);
  });
});

it.each(['merge', 'replace'] as const)(
  'a table that another program dropped is not among the landed ones until it lands again: %s',
  async (mode) => {
    const file = freshFile();
    await land(file, requestOf(streamOf({ mode })), [[1, 'a']]);
    await land(file, requestOf(streamOf({ mode, name: 'others' })), [[1, 'a']]);
    await using warehouse = openWarehouse(file);
    const tables = (): readonly string[] => warehouse.tables({}).map(({ table, rows }) => `${table} ${rows}`);
    expect(tables()).toEqual(['shop__orders 1', 'shop__others 1']);
    write(file, 'DROP TABLE shop__orders');
    expect(tables()).toEqual(['shop__others 1']);
    expect(warehouse.tables({ table: 'shop__orders' })).toEqual([]);
    // That a connector has brought something here stays known.
    expect(warehouse.states('shop')).toMatchObject([
      { stream: 'orders', rows: 0, cursor: null },
      { stream: 'others', rows: 1 },
    ]);
    expect((await warehouse.query('SELECT * FROM shop__others', caps, never)).row_count).toBe(1);
    await land(file, requestOf(streamOf({ mode }), { epoch: 2 }), [[2, 'b']]);
    expect(tables()).toEqual(['shop__orders 1', 'shop__others 1']);
    write(file, 'DROP TABLE shop__orders');
    await warehouse.drop('shop');
    expect(tables()).toEqual([]);
  },
);

it('a warehouse that is there and cannot be opened is not called empty', async () => {
  const file = freshFile();
  mkdirSync(file);
  await using warehouse = openWarehouse(file);
  expect(() => warehouse.tables({})).toThrow(/cannot be opened|could not be read/);
  expect(() => warehouse.states('shop')).toThrow(/cannot be opened|could not be read/);
  expect(await failure(warehouse.query('SELECT 1', caps, never))).toMatchObject({
    code: 'destination_failed',
  });
});
