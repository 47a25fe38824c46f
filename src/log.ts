import { type LevelWithSilent, type Logger, pino } from 'pino';
import { redact, scrub } from './core/redact.ts';

/** The log: `log.info({ event: 'run_started', run_id }, 'words for people')`, one JSON line each. */
export type Log = Logger;

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
 * JSON lines on stderr. Everything that is logged passes through `redact`, whatever its depth, and the words through
 * `scrub`. Not pino's own destination: that writes to the descriptor and blocks the process once a client stops
 * reading stderr (64 KiB later), and so does flushing it at exit. Node's stream never blocks on a pipe; it queues,
 * and beyond a bound lines are dropped and counted.
 */
export function createLog({ level, stream = process.stderr }: LogOptions): Log {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => redact(fields) as Record<string, unknown>,
      },
      // The logger's own serializer would run first and keep what drivers hang on their errors.
      serializers: { err: (error: unknown) => error },
      hooks: {
        logMethod(args, method) {
          const [first, words, ...rest] = args as readonly unknown[];
          const fields = first instanceof Error ? { error: first } : first;
          const text = (value: unknown): unknown => (typeof value === 'string' ? scrub(value) : value);
          method.apply(this, [text(fields), text(words), ...rest.map(redact)] as unknown as Parameters<
            typeof method
          >);
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
