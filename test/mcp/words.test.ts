import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Toolset } from '../../src/core/toolsets.ts';
import { instructions } from '../../src/mcp/instructions.ts';
import { listTools } from '../../src/mcp/server.ts';

/** Words are product: what they name has to exist, in descriptions, in hints and in calls made ready. */

const root = resolve(import.meta.dirname, '../..');
const sources = globSync('src/**/*.ts', { cwd: root }).map((path) => ({
  path,
  text: readFileSync(resolve(root, path), 'utf8'),
}));
const listed = listTools({ readOnly: false });
const names = listed.map((tool) => tool.name);
const argumentsOf = new Map(
  listed.map((tool) => [tool.name, Object.keys((tool.inputSchema['properties'] ?? {}) as object)]),
);

/** Read-only, and each choice of toolsets. */
const narrowed = [
  { readOnly: true },
  ...[['setup'], ['sync'], ['data'], ['setup', 'sync'], ['setup', 'data'], ['sync', 'data']].flatMap((sets) =>
    [true, false].map((readOnly) => ({ readOnly, toolsets: sets as readonly Toolset[] })),
  ),
];

/** What a tool's name looks like. */
const TOOL_LIKE =
  /\b(?:list|register|get|update|delete|test|discover|preview|sync|cancel|describe|query|replay|rotate)_(?:connectors?|connector_types|streams?|runs?|data|health|rejects|secret)\b/g;

describe('words', () => {
  test.each(listed)('$name says what, when and what comes back, in few words', ({ description, title }) => {
    expect(title).toMatch(/^[A-Z][a-z]+( [a-z]+)+$/);
    expect(description.length).toBeGreaterThan(60);
    expect(description.length).toBeLessThan(420);
    expect(description.trim()).toBe(description);
    expect(description.endsWith('.')).toBe(true);
  });

  test('every tool that any text of the program names exists', () => {
    const astray = sources.flatMap(({ path, text }) =>
      [...text.matchAll(TOOL_LIKE)]
        .map(([name]) => name)
        .filter((name) => !names.includes(name))
        .map((name) => `${path}: ${name}`),
    );
    expect(astray).toEqual([]);
    expect(sources.length).toBeGreaterThan(60);
  });

  test('every call that is offered as a next action can be made', () => {
    // Steps of prompts are held by a test of their own: they are not offered as calls that are ready.
    const offering = sources.filter(({ path }) => !path.startsWith('src/mcp/prompts/'));
    const offers = offering.flatMap(({ path, text }) =>
      [...text.matchAll(/\btool: '([^']*)',\s*arguments: (\{[^}]*\})/g)].map(([, tool = '', given = '']) => ({
        path,
        tool,
        given: keysOf(given),
      })),
    );
    expect(offers.length).toBeGreaterThan(10);
    for (const { path, tool, given } of offers) {
      expect(names, `${path} offers ${tool}`).toContain(tool);
      for (const key of given) expect(argumentsOf.get(tool), `${path} offers ${tool}`).toContain(key);
    }
    // An offer in another form would go unseen.
    const all = offering.flatMap(({ text }) => [...text.matchAll(/\btool: '[a-z_]+'/g)]);
    expect(offers.length).toBe(all.length);
  });

  test('instructions name the tools in the order of work, and only those that are served', () => {
    const all = instructions(new Set(names));
    expect([...all.matchAll(TOOL_LIKE)].map(([name]) => name)).toEqual(
      expect.arrayContaining(['query_data']),
    );
    expect(all.indexOf('register_connector')).toBeLessThan(all.indexOf('discover_streams'));
    expect(all.indexOf('discover_streams')).toBeLessThan(all.indexOf('query_data'));
    expect(all.length).toBeLessThan(1_800);

    for (const serving of narrowed) {
      const served = new Set(listTools(serving).map((tool) => tool.name));
      const said = instructions(served);
      const named = [...said.matchAll(TOOL_LIKE)].map(([name]) => name);
      expect(
        named.filter((name) => !served.has(name)),
        JSON.stringify(serving),
      ).toEqual([]);
      expect(said).not.toContain('work: .');
    }
  });
});

/** The keys of an object literal that holds no other object: `{ connector, run_id: run.run_id }`. */
function keysOf(literal: string): readonly string[] {
  return literal
    .slice(1, -1)
    .split(',')
    .map((part) => part.trim().split(':')[0]?.trim() ?? '')
    .filter((key) => key !== '');
}
