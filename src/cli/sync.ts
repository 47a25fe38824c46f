import { setTimeout as sleep } from 'node:timers/promises';
import { type App, openApp } from '../app.ts';
import { MillraceError } from '../core/errors.ts';
import type { Run } from '../core/model.ts';
import type { SyncRequest } from '../services/services.ts';
import { answer, notice } from './answer.ts';
import { COMMANDS, type CommandLine } from './options.ts';
import type { Environment } from './program.ts';

/** One run in the terminal. Exit code 0: succeeded; 1: failed or cancelled; 3: some streams only. */
export async function sync(line: CommandLine, env: Environment): Promise<number> {
  const [connector] = line.positionals;
  if (connector === undefined)
    throw new MillraceError('invalid_config', 'Which connector?', { hint: `Usage: ${COMMANDS.sync.usage}` });
  const streams = line.own['stream'] as readonly string[] | undefined;
  const request = {
    connector,
    ...(streams === undefined ? {} : { streams }),
    full_refresh: line.own['full-refresh'] === true,
  };
  const app = await openApp({ flags: line.flags, env, actor: 'cli' });
  const stop = new AbortController();
  const show = progressLine();
  let run: Run;
  let own: boolean;
  process.once('SIGINT', () => stop.abort());
  try {
    await app.applyConnectors();
    ({ run, own } = await carryOut(app, request, { show, signal: stop.signal }));
  } finally {
    show.clear();
    await app[Symbol.asyncDispose]();
  }
  if (run.finished_at === undefined) {
    notice(
      own
        ? `Run ${run.run_id} was asked to stop, and its end could not be waited for: \`millrace sync ${connector}\` shows it.`
        : `Run ${run.run_id} was not begun here and is not stopped: it goes on where a server runs.`,
    );
    return 1;
  }
  answer(report(run));
  return exitCode(run);
}

interface Watching {
  readonly show: ProgressLine;
  readonly signal: AbortSignal;
}

/**
 * The run that does what was asked for, at its end. One that was there before, left by a client that was closed or held
 * by a server, is followed and not refused; where it does something else, what was asked for comes after it.
 */
async function carryOut(
  app: App,
  request: SyncRequest,
  watching: Watching,
): Promise<{ readonly run: Run; readonly own: boolean }> {
  const caller = { actor: 'cli' };
  for (;;) {
    const { run, as } = await app.services.runs.join(request, { caller, trigger: 'cli' });
    if (as !== 'own') {
      watching.show.clear();
      notice(following(run, as));
    }
    app.carryOut(run.run_id);
    const own = as === 'own';
    const last = await follow(app, run, watching);
    if (last.finished_at === undefined)
      return { run: own ? await app.services.runs.cancel(run.run_id, caller) : last, own };
    if (as !== 'other' || watching.signal.aborted) return { run: last, own };
  }
}

/** The run when it has ended, or as it is when the signal fires. */
async function follow(app: App, begun: Run, { show, signal }: Watching): Promise<Run> {
  let run = begun;
  let said: string | undefined;
  while (run.finished_at === undefined && !signal.aborted) {
    run = await app.services.runs.get(
      { run_id: run.run_id, wait_seconds: 25 },
      { signal, onProgress: show.update },
    );
    // Under way and with an error: it stands still until somebody acts, and no call waits for that.
    const error = run.status === 'running' ? run.error : undefined;
    if (error === undefined) continue;
    show.clear();
    if (said !== error.message) notice(`${error.code}: ${error.message}\n${error.hint}`);
    said = error.message;
    await sleep(standstillMs, undefined, { signal }).catch(() => undefined);
  }
  return run;
}

/** How often a run that stands still is looked at. */
const standstillMs = 1_000;

function following({ connector, run_id, status, queued_at, started_at }: Run, as: 'same' | 'other'): string {
  const state = status === 'running' ? `is under way since ${started_at}` : `waits since ${queued_at}`;
  const then =
    as === 'same'
      ? 'that one is followed to its end.'
      : 'it has to end first, then comes what you asked for.';
  return `Run ${run_id} of "${connector}" ${state}: ${then}`;
}

function exitCode(run: Run): number {
  if (run.status === 'succeeded') return 0;
  return run.status === 'partial' ? 3 : 1;
}

interface ProgressLine {
  readonly update: (run: Run) => void;
  readonly clear: () => void;
}

/** How many rows, how fast, on one line of the terminal that is written over; nothing where stderr is not one. */
function progressLine(): ProgressLine {
  const terminal = process.stderr.isTTY === true;
  const begun = performance.now();
  return {
    update(run) {
      if (!terminal) return;
      const current = run.streams.find((stream) => stream.status === 'running');
      const done = run.streams.filter((stream) => stream.status === 'succeeded').length;
      const perSecond = Math.round(run.totals.rows_read / ((performance.now() - begun) / 1000));
      const bar = '█'.repeat(done).padEnd(Math.min(run.streams.length, 40), '░').slice(0, 40);
      process.stderr.write(
        `\r\x1b[2K${bar} ${run.totals.rows_read.toLocaleString('en')} rows · ${perSecond.toLocaleString('en')} rows/s${current === undefined ? '' : ` · ${current.stream}`}`,
      );
    },
    clear() {
      if (terminal) process.stderr.write('\r\x1b[2K');
    },
  };
}

function report(run: Run): string {
  const streams = run.streams.map((stream) => {
    const counts = `${stream.rows_read} read, ${stream.rows_written} written, ${stream.rows_deleted} marked deleted, ${stream.rejects} rejects`;
    const error =
      stream.error === undefined
        ? ''
        : `\n    ${stream.error.code}: ${stream.error.message}\n    ${stream.error.hint}`;
    return `  ${stream.stream}: ${stream.status} · ${counts}${error}`;
  });
  const whole =
    run.streams.length > 0 || run.error === undefined
      ? ''
      : `\n  ${run.error.code}: ${run.error.message}\n  ${run.error.hint}`;
  return [
    `${run.connector}: ${run.status} in ${run.duration_ms ?? 0} ms (run ${run.run_id})${whole}`,
    ...streams,
  ].join('\n');
}
