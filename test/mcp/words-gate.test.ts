import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { findConnectorType } from '../../src/connectors/index.ts';
import { parseCron } from '../../src/core/cron.ts';
import { ERROR_CODES } from '../../src/core/errors.ts';
import { listTools } from '../../src/mcp/server.ts';
import { streamArgument } from '../../src/mcp/shapes.ts';
import { tools } from '../../src/mcp/tools/index.ts';

/**
 * What can be said of words without reading them: that nobody shouts, that what is given as an example holds, that two
 * tools do not sound alike, and that any change of the list is seen by whoever reviews it.
 */
const root = resolve(import.meta.dirname, '../..');
const listed = listTools({ readOnly: false });
const TOOLS_MAX = 20;

/** What each tool changes, and whether it may overwrite what cannot be had back; the annotations have to say the same. */
const CHANGES: Readonly<Record<string, { readonly what: string; readonly destroys: boolean }>> = {
  register_connector: { what: 'a connector and its secrets are stored', destroys: false },
  update_connector: { what: 'settings and streams are overwritten', destroys: true },
  delete_connector: { what: 'a connector goes, its landed tables if asked', destroys: true },
  rotate_secret: { what: 'a credential is overwritten', destroys: true },
  sync_connector: { what: 'a run is queued and rows land', destroys: false },
  cancel_run: { what: 'a run ends early; what it committed stays', destroys: false },
  replay_rejects: { what: 'rows land and leave the rejects', destroys: false },
};

/** Who talks to a source while the call waits, or has a run do so. */
const REACHES_OUT = [
  'register_connector',
  'update_connector',
  'test_connector',
  'rotate_secret',
  'discover_streams',
  'preview_stream',
  'sync_connector',
  'replay_rejects',
];

describe('the list', () => {
  test(`at most ${TOOLS_MAX} tools; names are a verb and what it is done to, titles the same in words`, () => {
    expect(listed.length).toBeLessThanOrEqual(TOOLS_MAX);
    for (const { name, title } of listed) {
      expect(name).toMatch(/^[a-z]+(_[a-z]+){1,2}$/);
      expect(name.length).toBeLessThanOrEqual(30);
      expect(title?.toLowerCase().replaceAll(' ', '_')).toBe(name);
    }
  });

  test('the annotations agree with what each tool changes', () => {
    expect(Object.keys(CHANGES).filter((name) => !listed.some((tool) => tool.name === name))).toEqual([]);
    for (const { name, annotations } of listed)
      expect({ name, ...annotations }).toMatchObject({
        name,
        readOnlyHint: !(name in CHANGES),
        destructiveHint: CHANGES[name]?.destroys ?? false,
        openWorldHint: REACHES_OUT.includes(name),
      });
  });

  test('no two tools sound alike', () => {
    const pairs = listed.flatMap((one, at) =>
      listed.slice(at + 1).map((other) => ({
        names: [one.name, other.name],
        likeness: likeness(one.description, other.description),
      })),
    );
    expect(pairs.filter(({ likeness: much }) => much > 0.3)).toEqual([]);
    expect(likeness('Lists runs, newest first.', 'Lists runs, newest at first.')).toBeGreaterThan(0.5);
  });

  test('is the reviewed one', () => {
    const file = join(root, 'test/mcp/tools.snapshot.json');
    const now = `${JSON.stringify(listed, null, 2)}\n`;
    if (process.env['UPDATE_TOOLS']) writeFileSync(file, now);
    expect(readFileSync(file, 'utf8'), 'run it with UPDATE_TOOLS=1 and review the difference').toBe(now);
  });
});

describe('examples', () => {
  const examples = [...tools.map(({ name, listed: fields }) => ({ name, fields })), streamFields()].flatMap(
    ({ name, fields }) =>
      Object.entries(fields.shape as Record<string, z.ZodType>).flatMap(([field, schema]) =>
        exampleTexts(schema.description ?? '').map((text) => ({ at: `${name}.${field}`, schema, text })),
      ),
  );

  test.each(examples)('$at: $text', ({ at, schema, text }) => {
    const value: unknown = JSON.parse(text);
    expect(schema.safeParse(value).error?.issues ?? []).toEqual([]);
    if (at.endsWith('.schedule')) expect(parseCron(String(value), 'UTC')).toBeDefined();
    if (at.endsWith('.timezone')) expect(parseCron('@daily', String(value))).toBeDefined();
    if (at.endsWith('.type')) expect(findConnectorType(String(value)).type).toBe(value);
    if (at === 'register_connector.config')
      expect(findConnectorType('postgresql').config.safeParse(value).error?.issues ?? []).toEqual([]);
  });

  test('there are many', () => expect(examples.length).toBeGreaterThan(25));

  test('the query of query_data runs', () => {
    const { description = '' } = listed.find(({ name }) => name === 'query_data') ?? {};
    const sql = /e\.g\. "([^"]+)"/.exec(description)?.[1] ?? '';
    using db = new DatabaseSync(':memory:');
    db.exec(
      "CREATE TABLE shop__orders (id INTEGER, status TEXT); INSERT INTO shop__orders VALUES (1, 'new')",
    );
    expect(db.prepare(sql).all()).toHaveLength(1);
  });
});

describe('tone', () => {
  const said = [
    ...listed.flatMap(({ name, description, inputSchema }) => [
      { at: name, text: description, what: 'words' as const },
      ...descriptionsIn(inputSchema).map((text) => ({ at: name, text, what: 'words' as const })),
    ]),
    ...Object.entries(ERROR_CODES).map(([code, { meaning }]) => ({
      at: code,
      text: meaning,
      what: 'words' as const,
    })),
    ...globSync('src/**/*.ts', { cwd: root }).flatMap(errorWords),
  ];

  test('every text is seen', () => {
    expect(said.filter(({ what }) => what === 'hint').length).toBeGreaterThan(200);
    expect(said.filter(({ what }) => what === 'message').length).toBeGreaterThan(150);
  });

  test('nobody shouts, begs, blames or pads', () => {
    const loud = /!(?!=)|\b(MUST|ALWAYS|IMPORTANT|WARNING|CAUTION|NOTE|DANGER)\b/;
    const padding =
      /\b(please|sorry|simply|just|oops|obviously|unfortunately|invalid|illegal|successfully|in order to)\b/i;
    const astray = said
      .map(({ at, text }) => ({ at, text: text.replaceAll(/`[^`]*`|"[^"]*"/g, '…') }))
      // "has just been lost" is a time, not padding.
      .filter(({ text }) => loud.test(text) || padding.test(text.replace('has just been', 'has been')));
    expect(astray).toEqual([]);
  });

  test('an error is a sentence, its hint a step: both short', () => {
    const long = said.filter(({ what, text }) => text.length > (what === 'message' ? 300 : 560));
    expect(long).toEqual([]);
    const open = said.filter(({ what, text }) => what === 'message' && !/[.?:…)]$|‹›$/.test(text.trim()));
    expect(open).toEqual([]);
    expect(said.filter(({ what, text }) => what === 'hint' && text.trim().length < 8)).toEqual([]);
  });
});

function streamFields(): { readonly name: string; readonly fields: z.ZodObject } {
  return { name: 'stream', fields: streamArgument };
}

/** What stands behind each "e.g.": the longest beginning that is JSON. */
function exampleTexts(description: string): readonly string[] {
  return description
    .split('e.g. ')
    .slice(1)
    .map((rest) => {
      for (let end = rest.length; end > 0; end -= 1)
        if (isJson(rest.slice(0, end))) return rest.slice(0, end);
      throw new Error(`no example behind "e.g.": ${description}`);
    });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return text.trim() === text;
  } catch {
    return false;
  }
}

/** Of all groups of three letters in either, how many are in both. */
function likeness(one: string, other: string): number {
  const [a, b] = [groups(one), groups(other)];
  const shared = [...a].filter((group) => b.has(group)).length;
  return shared / (a.size + b.size - shared);
}

function groups(text: string): Set<string> {
  const plain = text.toLowerCase().replaceAll(/[^a-z]+/g, ' ');
  return new Set(Array.from({ length: Math.max(0, plain.length - 2) }, (_, at) => plain.slice(at, at + 3)));
}

function descriptionsIn(schema: unknown): readonly string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  return Object.entries(schema).flatMap(([key, value]) =>
    key === 'description' && typeof value === 'string' ? [value] : descriptionsIn(value),
  );
}

interface Said {
  readonly at: string;
  readonly text: string;
  readonly what: 'words' | 'hint' | 'message';
}

/** Hints and messages of errors as they stand in the source; what is filled in is `‹›`. */
function errorWords(path: string): readonly Said[] {
  const found: Said[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAssignment(node) && node.name.getText() === 'hint')
      for (const text of textsOf(node.initializer)) found.push({ at: path, text, what: 'hint' });
    if (ts.isNewExpression(node) && node.expression.getText() === 'MillraceError' && node.arguments?.[1])
      for (const text of textsOf(node.arguments[1])) found.push({ at: path, text, what: 'message' });
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, readFileSync(join(root, path), 'utf8'), ts.ScriptTarget.Latest, true));
  return found;
}

function textsOf(node: ts.Expression): readonly string[] {
  if (ts.isStringLiteralLike(node)) return [node.text];
  if (ts.isTemplateExpression(node))
    return [node.head.text + node.templateSpans.map(({ literal }) => `‹›${literal.text}`).join('')];
  if (ts.isConditionalExpression(node)) return [...textsOf(node.whenTrue), ...textsOf(node.whenFalse)];
  return [];
}
