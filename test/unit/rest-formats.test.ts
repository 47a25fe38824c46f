import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { csvPage } from '../../src/connectors/rest-api/formats/csv.ts';
import { detectFormat } from '../../src/connectors/rest-api/formats/detect.ts';
import { jsonPage } from '../../src/connectors/rest-api/formats/json.ts';
import { ndjsonPage } from '../../src/connectors/rest-api/formats/ndjson.ts';
import type { PageParser } from '../../src/connectors/rest-api/formats/page.ts';
import { asUtf8 } from '../../src/connectors/rest-api/formats/text.ts';
import { wholePage } from '../../src/connectors/rest-api/formats/whole.ts';
import { xmlPage } from '../../src/connectors/rest-api/formats/xml.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import { isRaw, parseExact } from '../../src/core/exact-json.ts';

/** The bytes cut at these places. */
async function* cut(bytes: Buffer, places: readonly number[]): AsyncGenerator<Buffer, void, void> {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const to of [...ends, bytes.length]) {
    yield bytes.subarray(from, to);
    from = to;
  }
}

async function parse(parser: PageParser, text: string | Buffer, places: readonly number[] = []) {
  const records: unknown[] = [];
  let rejects = 0;
  for await (const group of parser.groups(cut(Buffer.from(text), places))) {
    records.push(...group.records);
    rejects += group.rejects?.length ?? 0;
  }
  return {
    records,
    rejects,
    envelope: parser.envelope(),
    fingerprint: parser.fingerprint(),
    found: parser.found,
  };
}

async function fault(work: Promise<unknown>): Promise<MillraceError> {
  return await work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: MillraceError) => error,
  );
}

const cuts = fc.array(fc.nat({ max: 5_000 }), { maxLength: 12 });

/** JSON text with numbers of any length, in the forms that JSON has. */
const numberText = fc.oneof(
  fc.bigInt().map(String),
  fc.tuple(fc.bigInt(), fc.stringMatching(/^\d{1,25}$/)).map(([whole, part]) => `${whole}.${part}`),
  fc
    .tuple(fc.integer(), fc.stringMatching(/^\d{0,5}$/), fc.integer({ min: -400, max: 400 }))
    .map(
      ([whole, part, power]) =>
        `${whole}${part === '' ? '' : `.${part}`}${power % 2 === 0 ? 'e' : 'E'}${power > 0 ? '+' : ''}${power}`,
    ),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
);
const jsonText = fc.letrec<{ readonly value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    numberText,
    fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text)),
    fc.constantFrom('null', 'true', 'false'),
    fc.array(tie('value'), { maxLength: 4 }).map((items) => `[${items.join(', ')}]`),
    fc
      .array(fc.tuple(fc.string(), tie('value')), { maxLength: 4 })
      .map((fields) => `{${fields.map(([name, value]) => `${JSON.stringify(name)} : ${value}`).join(',')}}`),
  ),
})).value;

/** A decimal text as digits and a power of ten, so that 1.50 and 15e-1 are the same. */
function decimal(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (match === null) return text;
  const digits = ((match[2] ?? '') + (match[3] ?? '')).replace(/^0+/, '');
  const power = Number(match[4] ?? 0) - (match[3] ?? '').length;
  const kept = digits.replace(/0+$/, '');
  return kept === '' ? '0' : `${match[1]}${kept}e${power + digits.length - kept.length}`;
}

/** By name: JSON's objects have no order, and JavaScript's put names that are whole numbers first. */
function fieldsOf(value: object): readonly [string, unknown][] {
  return Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** The same value with every number as its decimal, by a way of its own: each number and each string is a marked string before anything parses them. */
function expected(text: string): unknown {
  const marked = text.replaceAll(/"((?:[^"\\]|\\.)*)"|-?\d[\d.eE+-]*/g, (token, inside?: string) =>
    inside === undefined ? `"#${token}"` : `"$${inside}"`,
  );
  const walk = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value === 'string')
      return value.startsWith('#') ? `#${decimal(value.slice(1))}` : value.slice(1);
    if (typeof value !== 'object' || value === null) return value;
    return fieldsOf(value).map(([name, inner]) => [name.slice(1), walk(inner)]);
  };
  return walk(JSON.parse(marked));
}

function got(value: unknown): unknown {
  if (typeof value === 'number') return `#${decimal(JSON.stringify(value))}`;
  if (isRaw(value)) return `#${decimal(value.rawJSON)}`;
  if (Array.isArray(value)) return value.map(got);
  if (typeof value !== 'object' || value === null) return value;
  return fieldsOf(value).map(([name, inner]) => [name, got(inner)]);
}

describe('JSON without loss', () => {
  it('law: every value keeps every digit, and is written again as it was', () => {
    fc.assert(
      fc.property(jsonText, (text) => {
        const value = parseExact(text);
        expect(got(value)).toEqual(expected(text));
        expect(got(parseExact(JSON.stringify(value)))).toEqual(got(value));
      }),
      { numRuns: 2_000, examples: [['{"" : {"#" : ""}}'], ['{"1": 1, "0": {"#": "1"}}']] },
    );
  });

  it.each([
    '9007199254740993',
    '-9223372036854775808',
    '12345678901234567890123',
    '0.1234567890123456789',
    '1e400',
    '1E-400',
  ])('keeps %s as its text', (text) => {
    expect(parseExact(text)).toEqual({ rawJSON: text });
    expect(JSON.stringify(parseExact(`{"a":[${text}]}`))).toBe(`{"a":[${text}]}`);
  });

  it.each([
    ['1', 1],
    ['12.5', 12.5],
    ['1.50', 1.5],
    ['1e3', 1000],
    ['0.30000000000000004', 0.30000000000000004],
  ])('%s is a number', (text, value) => {
    expect(parseExact(String(text))).toBe(value);
  });
});

describe('a JSON page', () => {
  it('law: however its bytes are cut, the records, the rest and the fingerprint are the same', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(jsonText, { maxLength: 8 }), jsonText, cuts, async (items, rest, places) => {
        const around = (list: string): string =>
          ` {"a" : {"x": ${rest}, "list": [${list}], "\\u0079": 1} , "b": [{"list": [9]}] }\n`;
        const text = around(items.join(' , '));
        const whole = await parse(jsonPage(['a', 'list']), text);
        const parts = await parse(jsonPage(['a', 'list']), text, places);
        expect(whole.records.map(got)).toEqual(items.map((item) => got(parseExact(item))));
        expect(parts).toEqual(whole);
        expect(got(whole.envelope)).toEqual(got(parseExact(around(''))));
      }),
      { numRuns: 500 },
    );
  });

  it('law: a list as the page, and a page that is held whole, hold the same records', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(jsonText, { maxLength: 8 }), cuts, async (items, places) => {
        const text = `[${items.join(',\n')}]`;
        const streamed = await parse(jsonPage([]), text, places);
        const whole = await parse(
          wholePage('json', (page) => ({ records: page as unknown[], found: true })),
          text,
          places,
        );
        expect(streamed.records.map(got)).toEqual(items.map((item) => got(parseExact(item))));
        expect(whole.records.map(got)).toEqual(streamed.records.map(got));
      }),
      { numRuns: 300 },
    );
  });

  it('comes in groups, and a group never splits a record', async () => {
    const items = Array.from({ length: 20_000 }, (_, id) => ({ id, text: 'äöü"\\,[]{}'.repeat(3) }));
    const parser = jsonPage(['data']);
    let groups = 0;
    let seen = 0;
    for await (const { records } of parser.groups(
      cut(Buffer.from(JSON.stringify({ data: items })), [77, 1_234, 4_999]),
    )) {
      groups += 1;
      for (const record of records) expect(record).toEqual(items[seen++]);
    }
    expect(seen).toBe(items.length);
    expect(groups).toBeGreaterThan(5);
  });

  it('takes an object where a list could be for one record, and null for none', async () => {
    expect((await parse(jsonPage(['a']), '{"a": {"b": [1]}, "c": 2}')).records).toEqual([{ b: [1] }]);
    expect((await parse(jsonPage([]), '{"b": [1]}')).records).toEqual([{ b: [1] }]);
    expect(await parse(jsonPage(['a']), '{"a": null}')).toMatchObject({ records: [], found: true });
    expect(await parse(jsonPage(['a']), '{"b": [1]}')).toMatchObject({
      records: [],
      found: false,
      envelope: { b: [1] },
    });
    expect(await parse(jsonPage(['a']), '{"a": "x"}')).toMatchObject({ records: [], found: false });
  });

  it.each(['{"a": [1, 2', '[{"x": "', '{"a"', '[1, {"b": [', '"x'])(
    'says that it broke off: %s',
    async (text) => {
      expect(await fault(parse(jsonPage(text.startsWith('{') ? ['a'] : []), text))).toMatchObject({
        code: 'connection_lost',
      });
    },
  );

  it.each([
    '{"a": [1,]}',
    '{"a": [,1]}',
    '{"a": [1,,2]}',
    '{"a": [1 2]}',
    '{"a": [tru]}',
    '{"a": [1}}',
    '{"a": [1]]',
    '{"a": [1]} x',
    '<html>',
    '',
    '{"a": [{"x":1]}]}',
  ])('refuses what is no JSON: %s', async (text) => {
    expect(['response_invalid', 'connection_lost']).toContain(
      (await fault(parse(jsonPage(['a']), text))).code,
    );
  });

  it('refuses bytes that are not UTF-8 instead of changing them', async () => {
    const error = await fault(
      parse(jsonPage([]), Buffer.concat([Buffer.from('["'), Buffer.from([0xe4]), Buffer.from('"]')])),
    );
    expect(error).toMatchObject({ code: 'response_invalid' });
    expect(error.message).toContain('charset');
  });
});

describe('NDJSON', () => {
  it('law: however its bytes are cut, the records are the same', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(jsonText, { maxLength: 12 }),
        fc.constantFrom('\n', '\r\n', '\n\n'),
        fc.boolean(),
        cuts,
        async (items, newline, ended, places) => {
          const text = items.join(newline) + (ended ? newline : '');
          const whole = await parse(ndjsonPage(null), text);
          expect(whole.records.map(got)).toEqual(items.map((item) => got(parseExact(item))));
          expect(await parse(ndjsonPage(null), text, places)).toEqual(whole);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('keeps a bad line aside, refuses a bad first one, and knows a last one that broke off', async () => {
    expect(await parse(ndjsonPage(null), '{"a":1}\nnope\n{"a":2}\n')).toMatchObject({
      records: [{ a: 1 }, { a: 2 }],
      rejects: 1,
    });
    expect(await fault(parse(ndjsonPage(null), 'nope\n{"a":2}\n'))).toMatchObject({
      code: 'response_invalid',
    });
    expect(await fault(parse(ndjsonPage(null), '{"a":1}\n{"a":'))).toMatchObject({ code: 'connection_lost' });
  });

  it('picks a part of each line', async () => {
    const pick = (value: unknown): unknown => (value as Record<string, unknown>)['record'] ?? null;
    expect((await parse(ndjsonPage(pick), '{"record":{"a":1}}\n{"state":2}\n')).records).toEqual([{ a: 1 }]);
  });
});

describe('CSV', () => {
  const field = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('', '"', ',', '\n', 'a,b', 'x\r\ny', ';'),
  );
  const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;

  it('law: what was quoted comes back, whatever the delimiter and however the bytes are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(field, field, field), { minLength: 1, maxLength: 8 }),
        fc.constantFrom(',', ';', '\t', '|'),
        fc.constantFrom('\n', '\r\n'),
        cuts,
        async (rows, delimiter, newline, places) => {
          const text =
            [['a', 'b', 'c'].join(delimiter), ...rows.map((row) => row.map(quoted).join(delimiter))].join(
              newline,
            ) + newline;
          const { records, rejects } = await parse(csvPage({}), text, places);
          expect(records).toEqual(rows.map(([a, b, c]) => ({ a, b, c })));
          expect(rejects).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('tells an empty field from a quoted empty one, and keeps rows of another length aside', async () => {
    expect(await parse(csvPage({}), 'a,b\n1,\n2,""\n3\n4,5,6\n7,8\n')).toMatchObject({
      records: [
        { a: '1', b: null },
        { a: '2', b: '' },
        { a: '7', b: '8' },
      ],
      rejects: 2,
    });
  });

  it('names columns where there is no header, or an empty or repeated name in it', async () => {
    expect((await parse(csvPage({ header: false }), '1,2\n3,4\n')).records).toEqual([
      { column_1: '1', column_2: '2' },
      { column_1: '3', column_2: '4' },
    ]);
    expect((await parse(csvPage({}), 'a,,a,__proto__\n1,2,3,4\n')).records).toEqual([
      { a: '1', column_2: '2', a_2: '3', proto: '4' },
    ]);
  });

  it('says that it broke off, inside of quotes or of its last line', async () => {
    expect(await fault(parse(csvPage({}), 'a,b\n1,"x'))).toMatchObject({ code: 'connection_lost' });
    expect(await fault(parse(csvPage({}), 'a,b\n1,2\n3'))).toMatchObject({ code: 'connection_lost' });
    expect((await parse(csvPage({}), 'a,b\n1,2\n3,4')).records).toHaveLength(2);
  });

  it('is a header and nothing else where there are no rows', async () => {
    expect(await parse(csvPage({}), 'a,b\n')).toMatchObject({ records: [], rejects: 0 });
  });
});

describe('XML', () => {
  const text = `<?xml version="1.0"?><rss><channel><title>T &amp; x</title>
    <item id="1"><name>a</name><tag>x</tag><tag>y</tag></item>
    <item id="2"><name><![CDATA[<b>]]></name><empty/></item>
  </channel></rss>`;

  it('law: however its bytes are cut, the records are the same', async () => {
    await fc.assert(
      fc.asyncProperty(cuts, async (places) => {
        const { records, envelope } = await parse(xmlPage(['rss', 'channel', 'item']), text, places);
        expect(records).toEqual([
          { '@id': '1', name: 'a', tag: ['x', 'y'] },
          { '@id': '2', name: '<b>', empty: null },
        ]);
        expect(envelope).toEqual({ rss: { channel: { title: 'T & x' } } });
      }),
      { numRuns: 100 },
    );
  });

  it('law: tells pages apart by their records alone, however they are cut, and whatever surrounds them', async () => {
    const pageAt = (time: string, ids: readonly number[]): string =>
      `<r time="${time}"><asked>${time}</asked>${ids.map((id) => `<a><id>${id}</id>${'x'.repeat(60_000)}</a>`).join('')}</r>`;
    const parsers = (): readonly PageParser[] => [
      xmlPage(['r', 'a']),
      wholePage('xml', (all) => ({
        records: (all as { r: { a: unknown[] } }).r.a,
        found: true,
      })),
    ];
    await fc.assert(
      fc.asyncProperty(cuts, fc.string({ unit: fc.constantFrom('a', 'b') }), async (places, time) => {
        for (const [at, parser] of parsers().entries()) {
          const { fingerprint } = await parse(parser, pageAt(time.repeat(2_000), [1, 2, 3, 4, 5]), places);
          const [same, other] = [parsers()[at], parsers()[at]] as [PageParser, PageParser];
          expect((await parse(same, pageAt('0', [1, 2, 3, 4, 5]))).fingerprint).toBe(fingerprint);
          expect((await parse(other, pageAt('0', [1, 2, 3, 4, 6]))).fingerprint).not.toBe(fingerprint);
        }
      }),
      { numRuns: 15 },
    );
  });

  it('is one record, or a list without any, where the path says so', async () => {
    expect((await parse(xmlPage([]), '<a><b>1</b></a>')).records).toEqual([{ a: { b: '1' } }]);
    expect(await parse(xmlPage(['as', 'a']), '<as></as>')).toMatchObject({ records: [], found: true });
    expect(await parse(xmlPage(['as', 'list', 'a']), '<as></as>')).toMatchObject({
      records: [],
      found: false,
    });
  });

  it('follows no entity: not one that grows, not one from a file', async () => {
    const bomb =
      '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;">]><r><x>&b;</x></r>';
    expect(await fault(parse(xmlPage(['r', 'x']), bomb))).toMatchObject({ code: 'response_invalid' });
    const file = '<!DOCTYPE r [<!ENTITY f SYSTEM "file:///etc/passwd">]><r><x>&f;</x></r>';
    expect(await fault(parse(xmlPage(['r', 'x']), file))).toMatchObject({ code: 'response_invalid' });
    expect(await fault(parse(xmlPage(['r', 'x']), '<r><x>&f;</x></r>'))).toMatchObject({
      code: 'response_invalid',
    });
  });

  it('refuses what is no XML, what breaks off, and what stands too deep', async () => {
    expect(await fault(parse(xmlPage(['r', 'x']), '<r><x></r>'))).toMatchObject({ code: 'response_invalid' });
    expect(await fault(parse(xmlPage(['r', 'x']), '<r><x>1</x>'))).toMatchObject({ code: 'connection_lost' });
    expect(await fault(parse(xmlPage(['r', 'x']), '<r>'.repeat(1_000)))).toMatchObject({
      code: 'response_invalid',
    });
  });
});

describe('the format of an answer', () => {
  it.each([
    ['application/json', '{"a":1}', 'json'],
    ['application/vnd.api+json; charset=utf-8', '[1]', 'json'],
    ['application/json', '{"a":1}\n{"a":2}\n', 'ndjson'],
    ['application/x-ndjson', '{"a":1}', 'ndjson'],
    ['text/csv', 'a,b\n1,2', 'csv'],
    ['application/atom+xml', '<feed/>', 'xml'],
    ['text/plain', ' [1]', 'json'],
    [null, '\u00ef\u00bb\u00bf{"a":1}', 'json'],
    ['application/octet-stream', 'a;b\n1;2\n', 'csv'],
    ['text/plain', '<a/>', 'xml'],
  ])('%s beginning with %s is %s', (type, head, format) => {
    expect(detectFormat('auto', type, Buffer.from(head, 'latin1')).format).toBe(format);
  });

  it.each([
    ['text/html', '<!DOCTYPE html><title>Sign in</title>', 'Sign in'],
    ['application/json', '  <html lang="en"><h1>502</h1>', '502'],
    ['application/json', 'Service down', 'Service down'],
    ['image/png', '\u0089PNG', 'PNG'],
    ['text/plain', '', 'empty'],
  ])('%s beginning with %s is none, and its beginning is shown', (type, head, shown) => {
    expect(() => detectFormat('auto', type, Buffer.from(head, 'latin1'))).toThrow(
      expect.objectContaining({ code: 'response_invalid', message: expect.stringContaining(shown) }),
    );
  });
});

describe('charsets', () => {
  const all = async (
    bytes: Buffer,
    options: { declared: string | null; header: string | null },
    places: readonly number[] = [],
  ): Promise<string> => {
    const chunks: Buffer[] = [];
    for await (const chunk of asUtf8(cut(bytes, places), options)) chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
  };

  it.each([
    ['a byte order mark of UTF-8', Buffer.from('\ufeffäß'), null, null],
    [
      'a byte order mark of UTF-16',
      Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from('äß', 'utf16le')]),
      null,
      'utf-8',
    ],
    ['the header', Buffer.from([0xe4, 0xdf]), null, 'iso-8859-1'],
    ['the stream, against the header', Buffer.from([0xe4, 0xdf]), 'windows-1252', 'utf-8'],
    ['nobody', Buffer.from('äß'), null, null],
  ])('by %s', async (_, bytes, declared, header) => {
    for (const places of [[], [1], [1, 2, 3]])
      expect(await all(bytes, { declared, header }, places)).toBe('äß');
  });

  it('refuses one that is not known', async () => {
    expect(await fault(all(Buffer.from('abc'), { declared: 'klingon', header: null }))).toMatchObject({
      code: 'response_invalid',
    });
  });
});
