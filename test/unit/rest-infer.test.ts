import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRowMaker, type JsonRecord, type RowMaker } from '../../src/connectors/rest-api/infer.ts';
import { type Kind, kindOf, normalTime, widen } from '../../src/connectors/rest-api/kinds.ts';
import { isRaw, parseExact } from '../../src/core/exact-json.ts';
import type { Value } from '../../src/core/types.ts';

const kinds: readonly Kind[] = [
  'null',
  'boolean',
  'integer',
  'integer64',
  'number',
  'decimal',
  'date',
  'local date-time',
  'date-time',
  'string',
  'json',
];

function table(maker: RowMaker, groups: readonly (readonly JsonRecord[])[], textual = false) {
  const rows: Readonly<Record<string, Value>>[] = [];
  for (const group of groups) {
    const made = maker.rows(group, textual);
    const names = maker.columns.map(({ name }) => name);
    expect(made.values).toHaveLength(names.length * made.rows);
    for (let row = 0; row < made.rows; row++)
      rows.push(
        Object.fromEntries(names.map((name, at) => [name, made.values[row * names.length + at] ?? null])),
      );
  }
  return { rows, types: Object.fromEntries(maker.columns.map(({ name, type }) => [name, type])) };
}

function inferred(groups: readonly (readonly JsonRecord[])[], textual = false) {
  return table(createRowMaker({ columns: [] }), groups, textual);
}

const values = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.integer(),
  fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n }).map((value) => parseExact(String(value))),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom<unknown>(
    parseExact('0.1234567890123456789'),
    '2026-01-02',
    '2026-01-02T03:04:05Z',
    '2026-01-02T03:04:05',
    '007',
    '',
    [1],
    { a: 1 },
  ),
  fc.string(),
);

describe('kinds', () => {
  it('law: widening is one for all orders, and never narrows', () => {
    for (const a of kinds) {
      expect(widen(a, a)).toBe(a);
      expect(widen(a, 'null')).toBe(a);
      for (const b of kinds) {
        expect(widen(a, b)).toBe(widen(b, a));
        expect(widen(widen(a, b), b)).toBe(widen(a, b));
        for (const c of kinds) {
          const [left, right] = [widen(widen(a, b), c), widen(a, widen(b, c))];
          // Numbers beside objects stay JSON only while no text has come.
          if (left !== right) expect([left, right].sort()).toEqual(['json', 'string']);
        }
      }
    }
  });

  it.each<[unknown, Kind]>([
    [5, 'integer'],
    [5.5, 'number'],
    [parseExact('9007199254740993'), 'integer64'],
    [parseExact('9223372036854775808'), 'decimal'],
    ['2026-02-28', 'date'],
    ['2026-02-29', 'string'],
    ['2024-02-29', 'date'],
    ['0000-01-01', 'string'],
    ['01/02/2026', 'string'],
    ['2026-01-02T03:04:05Z', 'date-time'],
    ['2026-01-02 03:04:05.123456+02:00', 'date-time'],
    ['2026-01-02T03:04', 'local date-time'],
    ['2026-01-02T24:00:00Z', 'string'],
    ['2026-01-02T03:04:60Z', 'string'],
    ['2026-01-02T03:04:05.1234567Z', 'string'],
    ['20260102', 'string'],
    ['12', 'string'],
    ['true', 'string'],
  ])('%j is %s', (value, kind) => {
    expect(kindOf(value, false)).toBe(kind);
  });

  it.each<[string, Kind]>([
    ['12', 'integer'],
    ['9007199254740993', 'integer64'],
    ['99999999999999999999', 'decimal'],
    ['1.5', 'number'],
    ['1.50', 'decimal'],
    ['007', 'string'],
    ['+5', 'string'],
    ['1e3', 'string'],
    ['true', 'boolean'],
    ['True', 'string'],
    ['', 'string'],
    ['NaN', 'string'],
    ['-0', 'string'],
  ])('as text alone, %s is %s', (text, kind) => {
    expect(kindOf(text, true)).toBe(kind);
  });

  it.each([
    ['2026-01-02T03:04:05Z', '2026-01-02T03:04:05.000000Z'],
    ['2026-01-02T03:04:05.1Z', '2026-01-02T03:04:05.100000Z'],
    ['2026-01-01T01:00:00.000001+02:30', '2025-12-31T22:30:00.000001Z'],
    ['2026-01-01 01:00-05', '2026-01-01T06:00:00.000000Z'],
    ['2026-01-02T03:04', '2026-01-02T03:04:00.000000'],
    ['2026-01-02T03:04:05.123456000Z', '2026-01-02T03:04:05.123456Z'],
  ])('%s is written %s', (text, normal) => {
    expect(normalTime(text)).toBe(normal);
  });
});

/** Texts that are times, or nearly. */
const nearlyTime = fc
  .tuple(
    fc.constantFrom('2026-02-28', '2024-02-29', '2026-02-29', '2026-13-01', '0000-01-01', '2026-04-31'),
    fc.constantFrom('T', ' ', 't'),
    fc.constantFrom('00:00:00', '23:59:59', '24:00:00', '12:60:00', '12:00:60', '1x:00:00', '12.00.00'),
    fc.oneof(fc.constantFrom('', '.', '.0000000'), fc.stringMatching(/^\.[0-9x]{1,7}$/)),
  )
  .map((parts) => parts.join(''));

it('law: the form that most APIs write is judged and written as the same moment in any other', () => {
  fc.assert(
    fc.property(nearlyTime, (text) => {
      const [common, other] = [`${text}Z`, `${text}+00:00`];
      expect(kindOf(common, false)).toBe(kindOf(other, false));
      if (kindOf(common, false) === 'date-time') expect(normalTime(common)).toBe(normalTime(other));
    }),
    { numRuns: 2_000 },
  );
});

describe('columns learnt from records', () => {
  it('law: each row holds what its record held, whatever came before and however records were grouped', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.array(fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor'), values), {
            maxLength: 5,
          }),
          { maxLength: 5 },
        ),
        (groups) => {
          const { rows } = inferred(groups);
          const records = groups.flat();
          expect(rows).toHaveLength(records.length);
          for (const [at, record] of records.entries()) {
            for (const [name, value] of Object.entries(record))
              expect(same(rows[at]?.[name] ?? null, value), `${name} ${JSON.stringify(value)}`).toBe(true);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('law: types only widen', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.dictionary(fc.constantFrom('a', 'b'), values), { maxLength: 4 }), {
          maxLength: 6,
        }),
        (groups) => {
          const maker = createRowMaker({ columns: [] });
          let before = maker.columns;
          for (const group of groups) {
            maker.rows(group, false);
            for (const [at, column] of before.entries()) {
              const now = maker.columns[at];
              expect(now?.name).toBe(column.name);
              expect(widen(column.sourceType as Kind, now?.sourceType as Kind)).toBe(now?.sourceType);
            }
            before = maker.columns;
          }
        },
      ),
    );
  });

  it('law: in textual formats every value has a place, also beside objects, and in a later run', () => {
    const texts = fc.oneof(
      fc.constantFrom<unknown>('3', 'true', '1.50', '-0', '007', 'x', '2026-01-02', '', null, { a: 1 }, [
        '3',
        '4',
      ]),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(fc.array(texts, { minLength: 1, maxLength: 4 }), { maxLength: 6 }), (groups) => {
        let maker = createRowMaker({ columns: [] });
        for (const [run, group] of groups.entries()) {
          if (run % 2 === 1) maker = createRowMaker({ columns: maker.columns });
          const { values } = maker.rows(
            group.map((a) => ({ a })),
            true,
          );
          const [column] = maker.columns;
          expect(values).toHaveLength(group.length);
          for (const [at, value] of values.entries()) {
            const came = group[at];
            expect(value === null).toBe(came === null);
            if (came !== null && column?.type === 'json') {
              const read = JSON.parse(String(value));
              expect(typeof came === 'string' ? value : read).toEqual(came);
            }
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('goes on from the columns that have landed', () => {
    const first = createRowMaker({ columns: [] });
    first.rows([{ a: 1.5, b: 'x' }], false);
    const second = createRowMaker({ columns: first.columns });
    expect(table(second, [[{ b: 7, c: true }]])).toEqual({
      rows: [{ a: null, b: '7', c: true }],
      types: { a: 'float', b: 'text', c: 'boolean' },
    });
    expect(second.takeChanged()).toBe(true);
    expect(second.takeChanged()).toBe(false);
  });

  it('holds texts of mixed fields as they came, and objects as JSON with every digit', () => {
    const long = parseExact('{"n":12345678901234567890}');
    expect(
      inferred([
        [
          { a: 1, b: long },
          { a: 'x', b: 5 },
          { a: true, b: [1] },
        ],
      ]),
    ).toEqual({
      rows: [
        { a: '1', b: '{"n":12345678901234567890}' },
        { a: 'x', b: '5' },
        { a: 'true', b: '[1]' },
      ],
      types: { a: 'text', b: 'json' },
    });
  });

  it('reads numbers and booleans out of texts in CSV and XML', () => {
    expect(
      inferred(
        [
          [
            { n: '12', p: '1.50', z: '01234', b: 'true', d: '2026-01-02', e: null },
            { n: '9007199254740993', p: '2', z: '1', b: 'false', d: '', e: null },
          ],
        ],
        true,
      ),
    ).toEqual({
      rows: [
        { n: 12, p: '1.50', z: '01234', b: true, d: '2026-01-02', e: null },
        { n: 9007199254740993n, p: '2', z: '1', b: false, d: '', e: null },
      ],
      types: { n: 'integer', p: 'decimal', z: 'text', b: 'boolean', d: 'text', e: 'text' },
    });
  });

  it('leaves out what is not wanted, and says when fields look like keys', () => {
    const maker = createRowMaker({ columns: [], wanted: (name) => name !== 'b' });
    expect(table(maker, [[{ a: 1, b: 2 }]]).rows).toEqual([{ a: 1 }]);
    const keys = Object.fromEntries(Array.from({ length: 2_000 }, (_, at) => [`k${at}`, at]));
    expect(() => createRowMaker({ columns: [] }).rows([keys], false)).toThrow(
      expect.objectContaining({ code: 'invalid_config' }),
    );
  });
});

/** Whether a landed value is what the record had, in one of the forms it may have. */
function same(landed: Value, value: unknown): boolean {
  if (value === null || value === undefined) return landed === null;
  if (typeof value === 'boolean') return landed === value || landed === String(value);
  if (typeof value === 'number') return Number(landed) === value;
  if (isRaw(value)) return String(landed) === value.rawJSON;
  if (typeof value === 'object') return landed === JSON.stringify(value);
  return landed === value || landed === normalTime(String(value));
}
