import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Value } from '../../src/core/types.ts';
import type { Writer } from '../../src/destinations/destination.ts';
import { openSqliteDestination, openWarehouse } from '../../src/destinations/index.ts';
import { batchOf, freshFile, read, requestOf, streamOf } from './sqlite-support.ts';

/** One thing that happens to a merged stream; the model below is a Map. */
const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('commit' as const),
        rows: fc.array(
          fc.tuple(
            fc.oneof(
              { weight: 9, arbitrary: fc.nat(12) as fc.Arbitrary<number | null> },
              { weight: 1, arbitrary: fc.constant(null) },
            ),
            fc.option(fc.nat(3), { freq: 4 }),
          ),
          { maxLength: 25 },
        ),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('deletions' as const), seen: fc.uniqueArray(fc.nat(12)) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('reopen' as const),
        rebuild: fc.boolean(),
        sameRun: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('finish' as const) }) },
  ),
  { maxLength: 25 },
);

interface Live {
  readonly v: string | null;
  readonly deleted: boolean;
  /** The run that wrote or marked it last. */
  readonly run: number;
}

interface Model {
  table: Map<number, Live>;
  cursor: string | null;
  rejects: number;
}

it('law: the table is what a Map would be, whatever is committed, deleted, rebuilt and cut off', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const file = freshFile();
      const stream = streamOf();
      let visible: Model = { table: new Map(), cursor: null, rejects: 0 };
      let build: Model | null = null;
      let epoch = 1;
      let run = 1;
      let commits = 0;
      let destination = openSqliteDestination(file);
      let writer: Writer = await destination.writer(requestOf(stream));

      const reopen = async (rebuild: boolean, sameRun: boolean): Promise<void> => {
        await destination[Symbol.asyncDispose]();
        epoch += 1;
        if (!sameRun) run += 1;
        destination = openSqliteDestination(file);
        writer = await destination.writer(requestOf(stream, { epoch, runId: `run${run}`, rebuild }));
        if (!rebuild) build = null;
        else if (build === null || !sameRun) build = { table: new Map(), cursor: null, rejects: 0 };
        expect(writer.cursor).toBe((build ?? visible).cursor);
      };

      for (const step of history) {
        const model: Model = build ?? visible;
        if (step.do === 'commit') {
          commits += 1;
          const rows = step.rows.map(([id, v]): Value[] => [id, v === null ? null : `v${v}`]);
          const done = await writer.commit(batchOf(rows, `c${commits}`));
          const before = new Map(model.table);
          for (const [id, v] of rows) {
            if (id === null) model.rejects += 1;
            else {
              const was = model.table.get(id as number);
              const same = was !== undefined && was.v === v && !was.deleted;
              model.table.set(id as number, {
                v: v as string | null,
                deleted: false,
                run: same ? was.run : run,
              });
            }
          }
          model.cursor = `c${commits}`;
          const changed = [...model.table].filter(([id, row]) => {
            const was = before.get(id);
            if (!rows.some(([key]) => key === id)) return false;
            return was === undefined || was.v !== row.v || was.deleted;
          });
          expect(done.rejects).toBe(rows.filter(([id]) => id === null).length);
          // A row counts once in a run, also where it comes again and is another one.
          const counted = changed.filter(([id]) => before.get(id)?.run !== run);
          expect(done.written).toBeGreaterThanOrEqual(counted.length);
          if (new Set(rows.map(([id]) => id)).size === rows.length) {
            expect(done.written).toBe(counted.length);
            expect(done.again ?? 0).toBe(changed.length - counted.length);
          }
        } else if (step.do === 'deletions' && build === null) {
          await writer.seenKeys(step.seen, step.seen.length);
          const gone = [...visible.table].filter(([id, row]) => !row.deleted && !step.seen.includes(id));
          expect(await writer.markDeleted(1)).toBe(gone.length);
          for (const [id, row] of gone) visible.table.set(id, { ...row, deleted: true, run });
        } else if (step.do === 'finish') {
          const live: number = [...model.table.values()].filter((row) => !row.deleted).length;
          await writer.finish({
            expectedRows: build === null ? null : live + model.rejects,
            minimumShare: 0.5,
          });
          if (build !== null) visible = build;
          build = null;
          await reopen(false, false);
        } else if (step.do === 'reopen') {
          await reopen(step.rebuild, step.sameRun);
        }
        const current: Model = build ?? visible;
        expect(await writer.liveRows()).toBe(
          [...current.table.values()].filter((row) => !row.deleted).length,
        );
        if (read(file, "SELECT 1 FROM sqlite_schema WHERE name = 'shop__orders'").length > 0) {
          expect(
            read(file, 'SELECT id, v, _mr_deleted_at IS NOT NULL FROM shop__orders ORDER BY id'),
          ).toEqual(
            [...visible.table]
              .sort(([a], [b]) => a - b)
              .map(([id, row]) => [BigInt(id), row.v, row.deleted ? 1n : 0n]),
          );
        }
      }
      await destination[Symbol.asyncDispose]();
      await using warehouse = openWarehouse(file);
      expect(warehouse.states('shop')[0]?.rows ?? 0).toBe(
        [...visible.table.values()].filter((row) => !row.deleted).length,
      );
    }),
    { numRuns: 120 },
  );
}, 120_000);
