import { type LevelWithSilent, type Logger, pino } from 'pino';
import { redact } from './core/redact.ts';

/**
 * The log: `log.info({ event: 'run_started', run_id }, 'words for people')`, one JSON line each. Without pino's `child`:
 * what is bound there passes by the hook that redacts.
 */
export type Log = Pick<Logger, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'>;

export interface LogOptions {
  readonly level: LevelWithSilent;
  /** Where lines go; stderr when absent, because stdout belongs to MCP. */
  readonly stream?: LogStream;
}

/** The part of a writable stream that the log needs. */
export interface LogStream {
  write(text: string): unknown;
  /** Characters that wait to be taken by whoever reads. */
  readonly writableLength: number;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/**
 * JSON lines on stderr; all that is logged passes through `redact`, the words too. Not pino's own destination: that
 * writes to the descriptor and blocks the process once a client stops reading stderr (64 KiB later), and so does
 * flushing it at exit. Node's stream does not block on a pipe; it queues, and beyond a bound lines are dropped and
 * counted.
 */
export function createLog({ level, stream = process.stderr }: LogOptions): Log {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      hooks: {
        // Before pino sees anything: it would take an error's words as the line's own, and keep what drivers hang on it.
        logMethod(args, method) {
          const [first, ...rest] = args as readonly unknown[];
          const fields = first instanceof Error ? { error: first } : first;
          method.apply(this, [fields, ...rest].map(redact) as unknown as Parameters<typeof method>);
        },
      },
    },
    boundedStream(stream),
  );
}

/** Characters that may wait for a reader. */
const WAITING_MAX = 1_048_576;

function boundedStream(stream: LogStream): { write(line: string): void } {
  let gone = false;
  let dropped = 0;
  // EPIPE: the client closed our stderr. There is nobody left to tell, and no reason to end a sync.
  stream.on('error', () => {
    gone = true;
  });
  return {
    write: (line) => {
      if (gone) return;
      if (stream.writableLength > WAITING_MAX) {
        dropped += 1;
        return;
      }
      if (dropped > 0) {
        stream.write(
          `${JSON.stringify({ level: 'warn', time: new Date().toISOString(), pid: process.pid, event: 'log_lines_dropped', lines: dropped })}\n`,
        );
        dropped = 0;
      }
      stream.write(line);
    },
  };
}
