import type { Run } from '../core/model.ts';

export interface ProgressUpdate {
  /** Rows read so far, a thousandth more where none came: the protocol wants it to grow with every notice. */
  readonly progress: number;
  readonly message: string;
}

/** Often enough to look alive, seldom enough not to fill a client's log. */
const changeMs = 200;
/** Clients that give up on silence count from the last notice. */
const aliveMs = 2_000;

/** Turns the changes of a run into progress notices. `now` in milliseconds. */
export function createProgress(
  send: (update: ProgressUpdate) => void,
  now: () => number,
): (run: Run) => void {
  let last = { at: Number.NEGATIVE_INFINITY, progress: -1, message: '' };
  return (run) => {
    const message = describeRun(run);
    const since = now() - last.at;
    if (message === last.message ? since < aliveMs : since < changeMs) return;
    const progress = run.totals.rows_read > last.progress ? run.totals.rows_read : last.progress + 0.001;
    last = { at: now(), progress, message };
    send({ progress, message });
  };
}

/** How a run stands, in a line. */
export function describeRun(run: Run): string {
  const { rows_read, rows_written } = run.totals;
  const busy = run.streams.filter((stream) => stream.status === 'running').map((stream) => stream.stream);
  const done = run.streams.filter((stream) => stream.status === 'succeeded').length;
  const streams =
    busy.length > 0 ? ` (${busy.slice(0, 3).join(', ')}; ${done} of ${run.streams.length} streams done)` : '';
  return `${run.connector}: ${run.status}, ${rows_read} rows read, ${rows_written} written${streams}`;
}
