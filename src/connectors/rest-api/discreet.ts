import { MillraceError } from '../../core/errors.ts';
import type { Batch, CheckReport } from '../../core/model.ts';
import type { Reading, Source } from '../connector.ts';

/**
 * The same source, from which nothing leaves that repeats a credential: a server may write one into a page that is shown
 * because nobody can read it, and whoever words an error need not think of that. Rows are data, and stay as they are.
 */
export function discreet(source: Source, clean: (text: string) => string): Source {
  const guarded = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw cleaned(error, clean);
    });
  const sentences = (texts: readonly string[]): readonly string[] => texts.map(clean);
  const { remarks } = source;
  return {
    check: async (streams, signal) => cleanReport(await guarded(source.check(streams, signal)), clean),
    discover: (request, signal) => guarded(source.discover(request, signal)),
    resolve: async (stream, signal) => {
      const resolved = await guarded(source.resolve(stream, signal));
      return { ...resolved, notes: sentences(resolved.notes) };
    },
    preview: (stream, limit, signal) => guarded(source.preview(stream, limit, signal)),
    ...(remarks === undefined ? {} : { remarks: (stream) => sentences(remarks.call(source, stream)) }),
    read: async (stream, from, signal) =>
      discreetReading(await guarded(source.read(stream, from, signal)), clean),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

function discreetReading(reading: Reading, clean: (text: string) => string): Reading {
  const { noticed } = reading;
  return {
    guard: reading.guard,
    warnings: reading.warnings.map(clean),
    resumed: reading.resumed,
    batches: discreetly(reading.batches, clean),
    ...(noticed === undefined ? {} : { noticed: () => noticed.call(reading).map(clean) }),
    get agreement() {
      return reading.agreement;
    },
    count: () =>
      reading.count().catch((error: unknown) => {
        throw cleaned(error, clean);
      }),
    keys: () => discreetly(reading.keys(), clean),
    [Symbol.asyncDispose]: () => reading[Symbol.asyncDispose](),
  };
}

async function* discreetly(
  batches: AsyncIterable<Batch>,
  clean: (text: string) => string,
): AsyncGenerator<Batch> {
  try {
    yield* batches;
  } catch (error) {
    throw cleaned(error, clean);
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

function cleaned(error: unknown, clean: (text: string) => string): unknown {
  if (!(error instanceof MillraceError)) return error;
  const { code, who, nextActions, cause } = error;
  const [message, hint] = [clean(error.message), clean(error.hint)];
  if (message === error.message && hint === error.hint) return error;
  return new MillraceError(code, message, { hint, who, nextActions, cause });
}
