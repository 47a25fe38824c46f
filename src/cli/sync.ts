import { openApp } from '../app.ts';
import { MillraceError } from '../core/errors.ts';
import type { Run } from '../core/model.ts';
import { answer } from './answer.ts';
import { COMMANDS, type CommandLine } from './options.ts';
import type { Environment } from './program.ts';

/** One run in the terminal. Exit code 0: succeeded; 1: failed or cancelled; 3: some streams only. */
export async function sync(line: CommandLine, env: Environment): Promise<number> {
  const [connector] = line.positionals;
  if (connector === undefined)
    throw new MillraceError('invalid_config', 'Which connector?', { hint: `Usage: ${COMMANDS.sync.usage}` });
  const app = await openApp({ flags: line.flags, env, actor: 'cli' });
  const stop = new AbortController();
  const show = progressLine();
  let run: Run | undefined;
  process.once('SIGINT', () => stop.abort());
  try {
    await app.startBackground();
    const streams = line.own['stream'] as readonly string[] | undefined;
    const options = { signal: stop.signal, onProgress: show.update };
    run = await app.services.runs.sync(
      {
        connector,
        ...(streams === undefined ? {} : { streams }),
        full_refresh: line.own['full-refresh'] === true,
        wait_seconds: 25,
      },
      { ...options, caller: { actor: 'cli' }, trigger: 'cli' },
    );
    while (run.finished_at === undefined && !stop.signal.aborted)
      run = await app.services.runs.get({ run_id: run.run_id, wait_seconds: 25 }, options);
    if (run.finished_at === undefined) run = await app.services.runs.cancel(run.run_id, { actor: 'cli' });
  } finally {
    show.clear();
    await app[Symbol.asyncDispose]();
  }
  answer(report(run));
  return exitCode(run);
}

function exitCode(run: Run): number {
  if (run.status === 'succeeded') return 0;
  return run.status === 'partial' ? 3 : 1;
}

/** How many rows, how fast, on one line of the terminal that is written over; nothing where stderr is not one. */
function progressLine(): { readonly update: (run: Run) => void; readonly clear: () => void } {
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
