import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ERROR_CODES, type ErrorCode, MillraceError } from '../../src/core/errors.ts';
import type { Run } from '../../src/core/model.ts';
import { checkArguments } from '../../src/mcp/arguments.ts';
import { clean, cleanText } from '../../src/mcp/clean.ts';
import { fittingPage, pageMarks } from '../../src/mcp/page.ts';
import { createProgress, type ProgressUpdate } from '../../src/mcp/progress.ts';
import { failure, success } from '../../src/mcp/reply.ts';
import { shorten } from '../../src/mcp/shorten.ts';
import { tools } from '../../src/mcp/tools/index.ts';

const tool = { rest: 'Ask for less.' };
const textOf = (result: ReturnType<typeof success>): string => {
  const [part] = result.content;
  if (part?.type !== 'text' || result.content.length !== 1) throw new Error('not one text');
  return part.text;
};
/** Any text there is: control characters, marks of direction, lone surrogates. */
const anyText = fc.string({ unit: 'binary' });
const json = fc.dictionary(anyText, fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }), { maxKeys: 8 });

/** Written apart from the program's own list: ranges that must never come through. */
const HIDDEN: readonly (readonly [number, number])[] = [
  [0x00, 0x08],
  [0x0b, 0x0c],
  [0x0e, 0x1f],
  [0x7f, 0x9f],
  [0x200e, 0x200f],
  [0x202a, 0x202e],
  [0x2066, 0x2069],
  [0xe0000, 0xe007f],
];

function isHidden(value: unknown): boolean {
  if (typeof value === 'string') {
    return [...value].some((char) =>
      HIDDEN.some(([from, to]) => (char.codePointAt(0) ?? 0) >= from && (char.codePointAt(0) ?? 0) <= to),
    );
  }
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, inner]) => isHidden(key) || isHidden(inner));
}

describe('a reply', () => {
  test('text and structure are the same facts, compact', () => {
    const result = success(tool, { rows: [[1, null, 'x']], left: undefined });
    expect(textOf(result)).toBe('{"rows":[[1,null,"x"]]}');
    expect(result.structuredContent).toEqual({ rows: [[1, null, 'x']] });
    expect(result.isError).toBeUndefined();
  });

  test('law: whatever a service answers, text is structure, under the limit, nothing hidden', () => {
    fc.assert(
      fc.property(json, (output) => {
        const result = success(tool, output);
        expect(JSON.parse(textOf(result))).toEqual(JSON.parse(JSON.stringify(result.structuredContent)));
        expect(textOf(result).length).toBeLessThanOrEqual(25_000);
        expect(isHidden(result.structuredContent)).toBe(false);
      }),
    );
  });

  test('a wide preview keeps columns and cells in step, and says how to get the rest', () => {
    const columns = Array.from({ length: 1_600 }, (_, n) => ({
      name: `column_${n}`,
      type: 'integer',
      source_type: 'bigint',
    }));
    const rows = Array.from({ length: 5 }, () => columns.map((_, n) => n));
    const result = success({ rest: 'Choose columns.' }, { columns, rows });
    const shown = result.structuredContent as { columns: object[]; rows: number[][]; cut: string };
    expect(textOf(result).length).toBeLessThanOrEqual(25_000);
    expect(textOf(result).length).toBeGreaterThan(20_000);
    expect(shown.rows.map((row) => row.length)).toEqual(Array(5).fill(shown.columns.length));
    expect(shown.cut).toContain(`columns: ${shown.columns.length} of 1600`);
    expect(shown.cut).toContain('Choose columns.');
  });

  test('rows of a query that do not fit are counted as they are shown', () => {
    const query = tools.find(({ name }) => name === 'query_data') ?? tool;
    const rows = Array.from({ length: 900 }, (_, n) => [n, 'x'.repeat(60)]);
    const whole = { columns: ['n', 'text'], rows, row_count: 900, truncated: false, elapsed_ms: 1 };
    const shown = success(query, whole).structuredContent as typeof whole;
    expect(shown.columns).toEqual(['n', 'text']);
    expect(shown.rows.length).toBeGreaterThan(200);
    expect(shown).toMatchObject({ row_count: shown.rows.length, truncated: true });
    const small = { ...whole, rows: [[1, 'y'.repeat(30_000)]], row_count: 1 };
    expect(success(query, small).structuredContent).toMatchObject({ row_count: 1, truncated: false });
  });

  test('one very long text costs its own end, not the lists beside it', () => {
    const names = Array.from({ length: 200 }, (_, n) => `table_${n}`);
    const { value, left } = shorten({ ddl: 'x'.repeat(50_000), names }, 20_000);
    expect(value['names']).toEqual(names);
    expect(value['ddl']).toBe(`${'x'.repeat(2_000)}…`);
    expect(left).toEqual(['ddl: text cut to 2000 of 50000']);
  });

  test('an object too wide for any list to help loses its largest fields', () => {
    const wide = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`key_${n}`, n]));
    const { value, left } = shorten({ status: 'healthy', wide }, 10_000);
    expect(value).toEqual({ status: 'healthy' });
    expect(left).toEqual(['wide: left out']);
  });

  test('law: shortened or not, it fits and says so', () => {
    fc.assert(
      fc.property(json, fc.integer({ min: 50, max: 400 }), (value, charsMax) => {
        const { value: shown, left } = shorten(value, charsMax);
        expect(JSON.stringify(shown).length).toBeLessThanOrEqual(charsMax);
        expect(left.length > 0).toBe(JSON.stringify(value).length > charsMax);
      }),
    );
  });
});

describe('text from a source', () => {
  test('is shown with what it hides', () => {
    expect(cleanText('a\u202eb\u0000c\u200bd\u{e0041}')).toBe('a\\u202eb\\u0000c\\u200bd\\u{e0041}');
    expect(cleanText('line\n\ttab Ünï 👩‍💻 नमस्‍ते')).toBe('line\n\ttab Ünï 👩‍💻 नमस्‍ते');
  });

  test('law: nothing hidden is left, and what was not hidden is untouched', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(isHidden(cleanText(text))).toBe(false);
        if (/^[\x20-\x7e]*$/.test(text)) expect(cleanText(text)).toBe(text);
      }),
    );
  });

  test('in keys as in values, at any depth', () => {
    expect(clean({ 'a\u2066': [{ b: '\u0007' }] })).toEqual({ 'a\\u2066': [{ b: '\\u0007' }] });
  });

  test('law: numbers, booleans and null stay what they are', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.integer(), fc.boolean(), fc.constant(null))), (values) => {
        expect(clean(values)).toEqual(values);
      }),
    );
  });
});

describe('an error reply', () => {
  test.each(Object.keys(ERROR_CODES) as ErrorCode[])(
    '%s begins with its code and has every field twice',
    (code) => {
      const error = new MillraceError(code, 'It did not work.', {
        hint: 'Do this.',
        nextActions: [{ tool: 'get_health', arguments: { a: 1 }, why: 'shows why' }],
      });
      const result = failure(error);
      const text = textOf(result);
      expect(result.isError).toBe(true);
      expect(text.startsWith(`${code}: It did not work.`)).toBe(true);
      for (const fact of ['Do this.', 'get_health', '{"a":1}', 'shows why', ERROR_CODES[code].who])
        expect(text).toContain(fact);
      expect(result.structuredContent).toEqual({
        error: {
          code,
          message: 'It did not work.',
          hint: 'Do this.',
          retryable: ERROR_CODES[code].recovery === 'retry',
          who: ERROR_CODES[code].who,
          next_actions: [{ tool: 'get_health', arguments: { a: 1 }, why: 'shows why' }],
        },
      });
    },
  );

  test('is bounded and clean, however much the source had to say', () => {
    const result = failure(
      new MillraceError('response_invalid', `\u202e${'x'.repeat(100_000)}`, { hint: 'h' }),
    );
    expect(textOf(result).length).toBeLessThan(25_000);
    expect(textOf(result)).toContain('response_invalid: \\u202exxx');
  });
});

describe('arguments', () => {
  const refused = (name: string, args: unknown): MillraceError => {
    const found = tools.find((candidate) => candidate.name === name);
    if (found === undefined) throw new Error(name);
    try {
      checkArguments({ tool: name, schema: found.listed, listed: found.listed }, args);
    } catch (error) {
      return error as MillraceError;
    }
    throw new Error('accepted');
  };

  test('an unknown one is answered with the nearest', () => {
    const error = refused('get_run', { run_id: 'r', wait_second: 3 });
    expect(error.code).toBe('invalid_config');
    expect(error.message).toContain('unknown option "wait_second" (Did you mean "wait_seconds"?)');
    expect(error.hint).toBe(
      'Call get_run again; it takes: run_id (required), wait_seconds, include_log. Nothing was done.',
    );
  });

  test.each([
    ['get_run', {}, 'run_id'],
    ['get_run', { run_id: 'r', wait_seconds: 26 }, 'wait_seconds'],
    ['list_runs', { status: 'done' }, 'status'],
    ['query_data', { sql: 'x'.repeat(20_001) }, 'sql'],
    ['preview_stream', { connector: 'shop', stream: 7 }, 'stream'],
  ])('%s %j names what is wrong', (name, args, field) => {
    expect(refused(name, args).message).toContain(`${field}:`);
  });

  test('none at all for a tool that takes none', () => {
    expect(refused('get_health', { verbose: true }).hint).toContain('without arguments');
  });
});

describe('a page that does not fit', () => {
  const all = Array.from({ length: 40 }, (_, n) => ({ n, text: 'x'.repeat(2_000) }));
  const ask = (from: number) => async (limit: number) => {
    const items = all.slice(from, from + limit);
    const end = from + items.length;
    return end < all.length ? { items, next_cursor: String(end) } : { items };
  };

  test('is asked for again, shorter, so that no item is lost between pages', async () => {
    const seen: number[] = [];
    let from = 0;
    for (let page = 0; page < 10 && from < all.length; page += 1) {
      const got = await fittingPage(20, ask(from));
      expect(got.items.length).toBeGreaterThan(5);
      expect(JSON.stringify(got.items).length).toBeLessThan(25_000);
      expect(pageMarks(got).has_more).toBe(got.next_cursor !== undefined);
      seen.push(...got.items.map((item) => item.n));
      from = got.next_cursor === undefined ? all.length : Number(got.next_cursor);
    }
    expect(seen).toEqual(all.map((item) => item.n));
  });

  test('moves on even when one item alone is too large', async () => {
    const huge = async (limit: number) => ({
      items: Array(limit).fill('x'.repeat(60_000)),
      next_cursor: 'more',
    });
    expect((await fittingPage(5, huge)).items).toHaveLength(1);
  });
});

describe('progress', () => {
  const run = (rows: number, status: Run['status'] = 'running'): Run => ({
    run_id: 'r',
    connector: 'shop',
    trigger: 'manual',
    status,
    attempt: 1,
    queued_at: '2026-11-01T00:00:00.000Z',
    totals: { rows_read: rows, rows_written: rows, rows_deleted: 0, rejects: 0, bytes_read: 0 },
    streams: [],
  });

  test('law: it grows with every notice, however the counts and the clock move', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(5_000), fc.nat(3_000)), { maxLength: 50 }), (changes) => {
        const sent: ProgressUpdate[] = [];
        let clock = 0;
        const onRun = createProgress(
          (update) => sent.push(update),
          () => clock,
        );
        for (const [rows, ms] of changes) {
          clock += ms;
          onRun(run(rows));
        }
        const values = sent.map((update) => update.progress);
        expect(values).toEqual([...new Set(values)].sort((a, b) => a - b));
        if (changes.length > 0) expect(sent.length).toBeGreaterThan(0);
      }),
    );
  });

  test('the same state is said again only to show life', () => {
    const sent: ProgressUpdate[] = [];
    let clock = 0;
    const onRun = createProgress(
      (update) => sent.push(update),
      () => clock,
    );
    for (; clock < 10_000; clock += 250) onRun(run(1_000));
    expect(sent).toHaveLength(5);
    expect(sent[0]).toEqual({ progress: 1_000, message: 'shop: running, 1000 rows read, 1000 written' });
  });
});
