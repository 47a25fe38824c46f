import { MillraceError } from '../core/errors.ts';
import type { Batch, CheckReport } from '../core/model.ts';
import type { Reading, Source } from './connector.ts';
import { cancelled } from './sql/pool.ts';

/**
 * The same source, from which nothing leaves that repeats a credential: a server may write one into a page that is shown
 * because nobody can read it, and whoever words an error need not think of that. Rows are data, and stay as they are.
 * Nor does anything leave without a code: work whose signal has fired was cancelled, whatever broke first.
 */
export function discreet(source: Source, clean: (text: string) => string): Source {
  const guarded = <T>(work: Promise<T>, signal: AbortSignal): Promise<T> =>
    work.catch((error: unknown) => {
      throw told(error, { clean, signal });
    });
  const sentences = (texts: readonly string[]): readonly string[] => texts.map(clean);
  const { remarks, judge } = source;
  const whole: Whole<Source> = {
    check: async (streams, signal) =>
      cleanReport(await guarded(source.check(streams, signal), signal), clean),
    discover: (request, signal) => guarded(source.discover(request, signal), signal),
    resolve: async (stream, signal) => {
      const resolved = await guarded(source.resolve(stream, signal), signal);
      return { ...resolved, notes: sentences(resolved.notes) };
    },
    preview: (stream, limit, signal) => guarded(source.preview(stream, limit, signal), signal),
    remarks: remarks && ((stream) => sentences(remarks.call(source, stream))),
    judge: judge && ((columns) => judge.call(source, columns)),
    read: async (stream, from, signal, parents) =>
      discreetReading(await guarded(source.read(stream, from, signal, parents), signal), { clean, signal }),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
  return whole as Source;
}

/** Every member is named, those among them that not all have: one that is forgotten would be lost in silence. */
type Whole<T> = { [Name in keyof Required<T>]: T[Name] | undefined };

interface Telling {
  readonly clean: (text: string) => string;
  /** Of the work that is told of. */
  readonly signal: AbortSignal;
}

function discreetReading(reading: Reading, telling: Telling): Reading {
  const { noticed, compared } = reading;
  const { clean } = telling;
  const whole: Whole<Reading> = {
    guard: reading.guard,
    get warnings() {
      return reading.warnings.map(clean);
    },
    get resumed() {
      return reading.resumed;
    },
    batches: discreetly(reading.batches, telling),
    noticed: noticed && (() => noticed.call(reading).map(clean)),
    compared: compared && (() => compared.call(reading)),
    get agreement() {
      return reading.agreement;
    },
    count: () =>
      reading.count().catch((error: unknown) => {
        throw told(error, telling);
      }),
    keys: () => discreetly(reading.keys(), telling),
    [Symbol.asyncDispose]: () => reading[Symbol.asyncDispose](),
  };
  return whole as Reading;
}

async function* discreetly(batches: AsyncIterable<Batch>, telling: Telling): AsyncGenerator<Batch> {
  try {
    yield* batches;
  } catch (error) {
    throw told(error, telling);
  }
}

function cleanReport(report: CheckReport, clean: (text: string) => string): CheckReport {
  const { error } = report;
  return {
    ...report,
    checks: report.checks.map((check) => ({ ...check, detail: clean(check.detail) })),
    warnings: report.warnings.map(clean),
    ...(error === undefined
      ? {}
      : { error: { ...error, message: clean(error.message), hint: clean(error.hint) } }),
  };
}

function told(error: unknown, { clean, signal }: Telling): unknown {
  if (!(error instanceof MillraceError)) return signal.aborted ? cancelled(signal) : error;
  const { code, who, nextActions, cause } = error;
  const [message, hint] = [clean(error.message), clean(error.hint)];
  if (message === error.message && hint === error.hint) return error;
  return new MillraceError(code, message, { hint, who, nextActions, cause });
}
