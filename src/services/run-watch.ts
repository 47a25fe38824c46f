import type { Run } from '../core/model.ts';
import type { RunStore } from '../store/store.ts';
import { hasEnded } from './runs.ts';
import type { Change } from './services.ts';

/** Runs that are looked at: the newest, and those under way however old they are. */
const looked = 50;

interface Seen {
  readonly connector: string;
  readonly ended: boolean;
  readonly status: string;
  readonly counts: string;
}

/** What changed among the runs since the call before; the first one only remembers what is there. */
export function watchRuns(runs: Pick<RunStore, 'list' | 'get'>): () => Promise<readonly Change[]> {
  let before: ReadonlyMap<string, Seen> | undefined;
  return async () => {
    const now = new Map((await current(runs, before)).map((run) => [run.run_id, seen(run)]));
    const earlier = before;
    before = now;
    return earlier === undefined ? [] : [...now].flatMap(([id, one]) => changeOf(id, one, earlier.get(id)));
  };
}

async function current(
  runs: Pick<RunStore, 'list' | 'get'>,
  before: ReadonlyMap<string, Seen> | undefined,
): Promise<readonly Run[]> {
  const page = { limit: looked };
  const found = new Map<string, Run>();
  for (const filter of [{}, { status: 'queued' }, { status: 'running' }] as const)
    for (const run of (await runs.list(filter, page)).items) found.set(run.run_id, run);
  // One that was under way and is in none of these lists has ended, or retention has removed it.
  for (const [id, { ended }] of before ?? []) {
    if (ended || found.has(id)) continue;
    const run = await runs.get(id).catch(() => undefined);
    if (run !== undefined) found.set(id, run);
  }
  return [...found.values()];
}

function seen(run: Run): Seen {
  return {
    connector: run.connector,
    ended: hasEnded(run),
    status: JSON.stringify([run.status, run.attempt, run.retry_at, run.error?.code]),
    counts: JSON.stringify([run.totals, run.streams.map(({ stream, status }) => [stream, status])]),
  };
}

function changeOf(run_id: string, now: Seen, before: Seen | undefined): readonly Change[] {
  const status = now.status !== before?.status;
  if (!status && now.counts === before?.counts) return [];
  return [{ kind: 'run', run_id, connector: now.connector, status }];
}
