import { encode } from 'gpt-tokenizer/encoding/o200k_base';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { registerSchema, streamSchema, updateSchema } from '../../src/core/schema.ts';
import { type ListedTool, listTools } from '../../src/mcp/server.ts';
import { streamArgument } from '../../src/mcp/shapes.ts';
import { tools } from '../../src/mcp/tools/index.ts';

/** What every conversation pays for the list (6,000 tokens at most), for all 19 tools of the contract. */
const TOKENS_MAX = 5_750;

/** The names that clients and acceptance checks use, written out: nobody may rename one by accident. */
const NAMES = [
  'list_connector_types',
  'register_connector',
  'list_connectors',
  'get_connector',
  'update_connector',
  'delete_connector',
  'test_connector',
  'rotate_secret',
  'discover_streams',
  'preview_stream',
  'sync_connector',
  'get_run',
  'list_runs',
  'cancel_run',
  'list_rejects',
  'replay_rejects',
  'describe_data',
  'query_data',
  'get_health',
];

/** Arguments as contract §4 has them: those in capitals are required. */
const ARGUMENTS: Readonly<Record<string, string>> = {
  list_connector_types: 'type',
  register_connector: 'NAME TYPE CONFIG streams schedule timezone enabled description test',
  list_connectors: 'type enabled limit cursor',
  get_connector: 'CONNECTOR',
  update_connector:
    'CONNECTOR config add_streams remove_streams streams schedule timezone enabled description',
  delete_connector: 'CONNECTOR keep_data confirmation',
  test_connector: 'CONNECTOR',
  rotate_secret: 'CONNECTOR FIELD VALUE',
  discover_streams: 'CONNECTOR search limit cursor',
  preview_stream: 'CONNECTOR STREAM limit',
  sync_connector: 'CONNECTOR streams full_refresh wait_seconds',
  get_run: 'RUN_ID wait_seconds include_log',
  list_runs: 'connector status since limit cursor',
  cancel_run: 'RUN_ID',
  list_rejects: 'CONNECTOR stream run_id limit cursor',
  replay_rejects: 'CONNECTOR STREAM reject_ids',
  describe_data: 'table',
  query_data: 'SQL limit',
  get_health: '',
};

type Node = Readonly<Record<string, unknown>>;
const listed = listTools({ readOnly: false });

describe('tools/list', () => {
  test('has the tools of the contract, in the order of a conversation', () => {
    expect(listed.map((tool) => tool.name)).toEqual(NAMES);
  });

  test(`costs at most ${TOKENS_MAX} tokens`, () => {
    const tokens = encode(JSON.stringify({ tools: listed })).length;
    expect(tokens).toBeGreaterThan(2_000);
    expect(tokens).toBeLessThanOrEqual(TOKENS_MAX);
  });

  test('read-only lists exactly the tools that change nothing', () => {
    expect(listTools({ readOnly: true }).map((tool) => tool.name)).toEqual([
      'list_connector_types',
      'list_connectors',
      'get_connector',
      'test_connector',
      'discover_streams',
      'preview_stream',
      'get_run',
      'list_runs',
      'list_rejects',
      'describe_data',
      'query_data',
      'get_health',
    ]);
    expect(listTools({ readOnly: true }).every((tool) => tool.annotations.readOnlyHint === true)).toBe(true);
  });

  test.each(listed)('$name takes the arguments of the contract', (tool) => {
    const required = new Set((tool.inputSchema['required'] ?? []) as string[]);
    const names = Object.keys(propertiesOf(tool.inputSchema));
    const shown = names.map((name) => (required.has(name) ? name.toUpperCase() : name)).join(' ');
    expect(shown).toBe(ARGUMENTS[tool.name]);
  });

  test.each(listed)('$name says all four hints, and they agree with each other', ({ annotations }) => {
    expect(Object.keys(annotations).sort()).toEqual([
      'destructiveHint',
      'idempotentHint',
      'openWorldHint',
      'readOnlyHint',
    ]);
    if (annotations.readOnlyHint)
      expect(annotations).toMatchObject({ destructiveHint: false, idempotentHint: true });
  });

  test.each(listed)('$name: every argument is described and bounded', (tool) => {
    const problems: string[] = [];
    for (const [name, field] of Object.entries(propertiesOf(tool.inputSchema))) {
      if (field['description'] === undefined && field['enum'] === undefined)
        problems.push(`${name}: no words`);
      boundsMissing(field, name, problems);
    }
    expect(problems).toEqual([]);
  });

  test.each(listed)('$name: an error fits the output schema too, as clients of 2025 check it', (tool) => {
    expect(tool.outputSchema['required']).toBeUndefined();
    expect(tool.outputSchema['additionalProperties']).toBeUndefined();
    expect(tool.outputSchema['type']).toBe('object');
  });

  test.each(listed)('$name has nothing that schema dialects of model providers disagree on', (tool) => {
    const problems: string[] = [];
    for (const schema of [tool.inputSchema, tool.outputSchema]) unportable(schema, tool.name, problems);
    expect(problems).toEqual([]);
  });

  test('the checks above see what they look for', () => {
    const problems: string[] = [];
    boundsMissing({ type: 'array', items: { type: 'string' } }, 'a', problems);
    boundsMissing({ anyOf: [{ type: 'integer' }] }, 'b', problems);
    unportable(
      { properties: { c: { anyOf: [{ type: 'null' }] }, d: { type: ['string'] }, e: {} } },
      'x',
      problems,
    );
    expect(problems).toEqual([
      'a: no maxItems',
      'a[]: no maxLength',
      'b: no minimum',
      'b: no maximum',
      'x.c: null',
      'x.d: several types',
      'x.e: anything',
    ]);
  });
});

describe('what a service checks is what is listed', () => {
  const earlier = ['table', 'query', 'incremental', 'timestamp_column'];

  test('register_connector', () => {
    const checked = Object.keys((registerSchema as unknown as z.ZodObject).shape).filter(
      (name) => !earlier.includes(name),
    );
    expect(argumentsOf('register_connector')).toEqual(checked.sort());
  });

  test('update_connector', () => {
    expect(argumentsOf('update_connector')).toEqual(Object.keys(updateSchema.shape).sort());
  });

  test('a stream', () => {
    const checked = (streamSchema as unknown as z.ZodObject).shape;
    expect(Object.keys(streamArgument.shape).sort()).toEqual(Object.keys(checked).sort());
  });
});

function argumentsOf(name: string): readonly string[] {
  const tool = tools.find((candidate) => candidate.name === name);
  return Object.keys(tool?.listed.shape ?? {}).sort();
}

function propertiesOf(schema: Node): Readonly<Record<string, Node>> {
  return (schema['properties'] ?? {}) as Readonly<Record<string, Node>>;
}

/** Numbers have both bounds, texts and lists a greatest length, wherever they stand. */
function boundsMissing(node: Node, path: string, problems: string[]): void {
  const need = (keyword: string): void => {
    if (node[keyword] === undefined) problems.push(`${path}: no ${keyword}`);
  };
  if (node['type'] === 'string' && node['enum'] === undefined && node['pattern'] === undefined)
    need('maxLength');
  if (node['type'] === 'integer') for (const keyword of ['minimum', 'maximum']) need(keyword);
  if (node['type'] === 'number') need('minimum');
  if (node['type'] === 'array') {
    need('maxItems');
    boundsMissing(node['items'] as Node, `${path}[]`, problems);
  }
  for (const branch of (node['anyOf'] ?? []) as Node[]) boundsMissing(branch, path, problems);
  for (const [name, field] of Object.entries(propertiesOf(node)))
    boundsMissing(field, `${path}.${name}`, problems);
}

function unportable(node: Node, path: string, problems: string[]): void {
  if (node['type'] === 'null') problems.push(`${path}: null`);
  if (Array.isArray(node['type'])) problems.push(`${path}: several types`);
  if (Object.keys(node).length === 0) problems.push(`${path}: anything`);
  if (node['$ref'] !== undefined) problems.push(`${path}: reference`);
  for (const branch of (node['anyOf'] ?? []) as Node[]) unportable(branch, path, problems);
  if (node['items'] !== undefined) unportable(node['items'] as Node, `${path}[]`, problems);
  for (const [name, field] of Object.entries(propertiesOf(node)))
    unportable(field, `${path}.${name}`, problems);
}

/** The list is what clients get: plain JSON, the same after a journey. */
test('the list is plain JSON', () => {
  expect(JSON.parse(JSON.stringify(listed)) as readonly ListedTool[]).toEqual(listed);
});
