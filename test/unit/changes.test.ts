import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { createChangeService } from '../../src/services/changes.ts';
import { watchRuns } from '../../src/services/run-watch.ts';
import type { Change, HealthReport } from '../../src/services/services.ts';
import type { Store } from '../../src/store/store.ts';
import { connector, open, result, scratch } from './store-support.ts';

/** What changed is found by looking at the store: here two handles on one file, as two processes have them. */

const now = (): Date => new Date();
const manual = (name: string) => ({ connector: name, trigger: 'manual', fullRefresh: false }) as const;

async function twoHandles() {
  const folder = scratch();
  const [mine, other] = [await open(folder.file, now), await open(folder.file, now)];
  return {
    mine,
    other,
    async [Symbol.asyncDispose]() {
      await mine[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** The service over a store; `looks` counts how often its runs were listed. */
function serviceOver(store: Store) {
  const seen = { looks: 0, nudge: (): void => undefined };
  const runs = {
    get: store.runs.get,
    list: (...args: Parameters<Store['runs']['list']>) => {
      seen.looks += 1;
      return store.runs.list(...args);
    },
  };
  const runner = {
    onChange(listener: (runId: string, left: boolean) => void) {
      seen.nudge = () => listener('any', false);
      return () => {
        seen.nudge = () => undefined;
      };
    },
  };
  const get = async (): Promise<HealthReport> => {
    const counts = await store.runs.counts();
    const status = counts.failed > 0 ? 'failing' : 'healthy';
    return { status, reasons: [], connectors: [] } as unknown as HealthReport;
  };
  return { seen, changes: createChangeService({ runs, audit: store.audit, runner, now }, { get }) };
}

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!holds() && performance.now() < end) await sleep(10);
  expect(holds()).toBe(true);
}

describe('changes', () => {
  test('of another handle are heard, and each kind for what it is', async () => {
    await using handles = await twoHandles();
    const { mine, other } = handles;
    await other.connectors.insert(connector('shop'));
    const { changes, seen } = serviceOver(mine);
    const heard: Change[] = [];
    const stop = changes.onChange((found) => heard.push(...found));
    await until(() => seen.looks >= 3);

    const { run_id } = await other.runs.enqueue(manual('shop'));
    const of = (kind: string): readonly Change[] => heard.filter((change) => change.kind === kind);
    await until(() => of('run').length > 0);
    expect(of('run')).toEqual([{ kind: 'run', run_id, connector: 'shop', status: true }]);

    const claim = await other.runs.claim('p2', 60_000);
    if (claim === null) throw new Error('nothing to claim');
    await until(() => of('run').length > 1);
    await other.runs.heartbeat(claim, 60_000, [result('orders', { rows_read: 5 })]);
    await until(() => of('run').length > 2);
    expect(of('run').at(-1)).toEqual({ kind: 'run', run_id, connector: 'shop', status: false });

    await other.runs.finish(claim, { status: 'failed', streams: [] });
    await until(() => of('health').length === 1);
    expect(of('run').at(-1)).toMatchObject({ status: true });

    await other.audit.append({ actor: 'x', action: 'update_connector', subject: 'shop', detail: {} });
    await other.audit.append({ actor: 'x', action: 'cancel_run', subject: run_id, detail: {} });
    await until(() => of('audit').length > 0 && of('connector').length > 0);
    expect(of('connector')).toEqual([{ kind: 'connector', connector: 'shop' }]);
    stop();
  });

  test('cost nothing while nobody listens; a notice of the runner brings the next look forward', async () => {
    await using handles = await twoHandles();
    const { changes, seen } = serviceOver(handles.mine);
    await sleep(0);
    expect(seen.looks).toBe(0);
    const stops = [changes.onChange(() => undefined), changes.onChange(() => undefined)];
    await until(() => seen.looks >= 3);
    const before = seen.looks;
    seen.nudge();
    await until(() => seen.looks > before);
    for (const stop of stops) {
      stop();
      stop();
    }
    const after = seen.looks;
    await sleep(1_300);
    expect(seen.looks).toBe(after);
  });

  test('of a run that left the newest page while it was under way are not lost', async () => {
    await using handles = await twoHandles();
    const { mine, other } = handles;
    await other.connectors.insert(connector('slow'));
    await other.connectors.insert(connector('quick'));
    const { run_id } = await other.runs.enqueue(manual('slow'));
    const slow = await other.runs.claim('p2', 60_000);
    if (slow === null) throw new Error('nothing to claim');
    const look = watchRuns(mine.runs);
    expect(await look()).toEqual([]);
    for (let n = 0; n < 60; n += 1) {
      await other.runs.enqueue(manual('quick'));
      const claim = await other.runs.claim('p2', 60_000);
      if (claim !== null) await other.runs.finish(claim, { status: 'succeeded', streams: [] });
    }
    expect(await look()).toHaveLength(50);
    await other.runs.finish(slow, { status: 'succeeded', streams: [] });
    expect(await look()).toEqual([{ kind: 'run', run_id, connector: 'slow', status: true }]);
    expect(await look()).toEqual([]);
  });
});
