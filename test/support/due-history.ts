import { expect } from 'vitest';
import { parseCron } from '../../src/core/cron.ts';
import type { Run } from '../../src/core/model.ts';
import type { MillraceProcess } from './millrace-process.ts';

/** An entry of the history and the due times that it says it stands for, both ends included. ISO times. */
export interface Stood {
  readonly run: Run;
  readonly since: string;
  readonly until: string;
}

/** Reads it as a person would: from the first line of its log, or from why it was skipped. */
export function stoodFor(run: Run, log: readonly { readonly message: string }[]): Stood {
  if (run.due_at === undefined) throw new Error(`run ${run.run_id} has no due time`);
  const missed = run.error?.code === 'time_missed' ? [run.error.message] : [];
  const said = [...log.map(({ message }) => message), ...missed].join('\n');
  const since = /(?:since|from) (\d{4}-[^ ,]+Z)/.exec(said)?.[1];
  return { run, since: since ?? run.due_at, until: run.due_at };
}

/** Those that say they stand for that time. */
export function standingFor(stood: readonly Stood[], dueAt: Date): readonly Stood[] {
  const due = dueAt.toISOString();
  return stood.filter(({ since, until }) => since <= due && due <= until);
}

/** The scheduled runs of a connector as its history tells of them, the oldest first. */
export async function readStood(millrace: MillraceProcess, connector: string): Promise<readonly Stood[]> {
  const stood: Stood[] = [];
  let cursor: string | undefined;
  do {
    const page = await millrace.must<{ runs: readonly Run[]; next_cursor?: string }>('list_runs', {
      connector,
      limit: 100,
      ...(cursor === undefined ? {} : { cursor }),
    });
    for (const { run_id, trigger } of page.runs) {
      if (trigger !== 'schedule') continue;
      const asked = { run_id, include_log: true };
      const { run } = await millrace.must<{ run: Run }>('get_run', asked);
      stood.push(stoodFor(run, run.log ?? []));
    }
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return stood.reverse();
}

/** Each due time of a period is in the history once, and each entry has ended in one of the ways there are. */
export function expectEachOnce(
  stood: readonly Stood[],
  { schedule, from, upTo }: { readonly schedule: string; readonly from: Date; readonly upTo: Date },
): void {
  const times = parseCron(schedule, 'UTC');
  let counted = 0;
  for (let due = times.nextAfter(from); due !== null && due <= upTo; due = times.nextAfter(due)) {
    const entries = standingFor(stood, due).map(({ run }) => run.run_id);
    expect(entries, `${due.toISOString()} in ${JSON.stringify(stood)}`).toHaveLength(1);
    counted += 1;
  }
  expect(counted).toBeGreaterThan(3);
  for (const { run } of stood) {
    const ends = run.skipped ? ['cancelled'] : ['succeeded', 'partial', 'failed'];
    expect(ends, JSON.stringify(run)).toContain(run.status);
    if (run.status !== 'succeeded') expect(run.error?.code, JSON.stringify(run)).toBeDefined();
  }
}
