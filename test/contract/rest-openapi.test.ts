import { dump } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { restApi } from '../../src/connectors/rest-api/index.ts';
import { MillraceError } from '../../src/core/errors.ts';
import type { StreamInfo } from '../../src/core/model.ts';
import { validate } from '../../src/core/validate.ts';
import { serve, type TestApi } from '../support/rest-apis.ts';

/** OpenAPI documents in every form they are written in, over the wire. */

let api: TestApi;
let served = '';

beforeAll(async () => {
  api = await serve((_, response) => response.writeHead(200, { 'content-type': 'text/yaml' }).end(served));
});

afterAll(async () => {
  await api?.[Symbol.asyncDispose]();
});

/** What discover_streams answers; the document is fetched, or is the config's own text. */
async function discovered(openapi: string, { fetched = true } = {}): Promise<readonly StreamInfo[]> {
  served = openapi;
  const given = { base_url: api.url, openapi: fetched ? '/openapi' : openapi };
  const config = validate(restApi.config, given, 'The config');
  const network = { allow: [], allowPrivateHttp: ['127.0.0.1'] };
  await using source = await restApi.open(config, { network, streams: [] });
  return (await source.discover({ limit: 10 }, new AbortController().signal)).items;
}

async function refused(openapi: string): Promise<MillraceError> {
  const error = await discovered(openapi).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MillraceError);
  return error as MillraceError;
}

/** A document of one list, `GET /orders`, whose records are the schema `Order`. */
function documentOf(schemas: Readonly<Record<string, unknown>>): object {
  const schema = { type: 'array', items: { $ref: '#/components/schemas/Order' } };
  return {
    openapi: '3.0.3',
    paths: { '/orders': { get: { responses: { 200: { content: { 'application/json': { schema } } } } } } },
    components: { schemas },
  };
}

const withPeculiarities = `\ufeff%YAML 1.2
---
# A document with all that JSON has not.
openapi: 3.1.0
x-page: &page
  - {name: limit, in: query, schema: {type: integer, maximum: 50}}
  - {name: offset, in: query, schema: {type: integer}}
paths:
  /orders:
    get:
      description: >
        Folded
        text: with a colon
      parameters: *page
      responses:
        200: &listed
          description: 'It''s a list'
          content:
            application/json:
              schema: {type: object, properties: {data: {type: array, items: {$ref: '#/components/schemas/Order'}}}}
  /returns:
    get:
      parameters: *page
      responses:
        "200":
          <<: *listed
components:
  schemas:
    Order:
      required: [id]
      properties:
        id: {type: integer, example: 9007199254740993}
        placed: {type: string, format: date, example: 2026-11-23}
`;

describe('a document in YAML', () => {
  test.each([true, false])(
    'comments, anchors, merged keys, numbers as keys; fetched: %s',
    async (fetched) => {
      const items = await discovered(withPeculiarities, { fetched });
      const pagination = { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 50 };
      expect(items.map(({ suggested }) => suggested)).toEqual(
        ['orders', 'returns'].map((name) => ({
          name,
          path: `/${name}`,
          primary_key: ['id'],
          rest: { records: 'data', pagination },
        })),
      );
      expect(items[0]?.columns.map(({ name, type }) => [name, type])).toEqual([
        ['id', 'integer'],
        ['placed', 'date'],
      ]);
    },
  );

  test('says the same as in JSON', async () => {
    const properties = { id: { type: 'integer' }, updated_at: { type: 'string', format: 'date-time' } };
    const document = documentOf({ Order: { properties } });
    const items = await discovered(JSON.stringify(document));
    expect(items.map(({ name }) => name)).toEqual(['orders']);
    expect(await discovered(dump(document))).toEqual(items);
  });
});

test.each([
  ['{"swagger": "2.0"}', /Swagger 2\.0/],
  ['swagger: 2.0\npaths: {}', /Swagger 2\.0/],
  ['{"hello": 1}', /"openapi"/],
  ['hello: 1', /"openapi"/],
  ['just words', /"openapi"/],
  ['{"openapi": "3.0.3", ', /no JSON/],
  ['<html>', /no JSON/],
  ['openapi: "3.0.3"\npaths: [', /YAML, broken/],
  ['openapi: 3.0.3\n---\nopenapi: 3.0.3', /YAML, broken/],
  [`openapi: 3.0.3\npaths: &p {}\nx: [${'*p,'.repeat(20_000)}]`, /YAML, broken.*alias/],
  [`openapi: 3.0.3\nx: ${'['.repeat(10_000)}`, /YAML, broken.*nesting/],
  [`openapi: 3.0.3\nx: ${'y'.repeat(12_000_000)}`, /as YAML it may have/],
])('no OpenAPI 3: %.40s', async (document, words) => {
  const error = await refused(document);
  expect(error.code).toBe('response_invalid');
  expect(error.message).toMatch(words);
  expect(error.hint).toContain('preview_stream');
});

describe('what multiplies itself ends', () => {
  const id = { type: 'integer' };

  test.each([
    ['JSON', JSON.stringify],
    ['YAML', dump],
  ])('schemas composed of each other, in %s', async (_form, written) => {
    const names = ['Order', ...Array.from({ length: 20 }, (_, level) => `S${level}`)];
    const schemas = names.map((name, level) => {
      const inner = { $ref: `#/components/schemas/${names[(level + 1) % names.length]}` };
      return [name, { properties: { id }, allOf: Array(10).fill(inner) }];
    });
    const items = await discovered(written(documentOf(Object.fromEntries(schemas))));
    expect(items.map(({ suggested }) => suggested?.primary_key)).toEqual([['id']]);
  });

  test('aliases of aliases', async () => {
    const laughs = Array.from({ length: 30 }, (_, level) =>
      level === 0
        ? 'l0: &l0 {allOf: []}'
        : `l${level}: &l${level} {allOf: [${`*l${level - 1},`.repeat(10)}]}`,
    );
    const document = dump(documentOf({ Order: { properties: { id }, allOf: [{ $ref: '#/l29' }] } }));
    const items = await discovered([...laughs, document].join('\n'));
    expect(items.map(({ name }) => name)).toEqual(['orders']);
  });
});
