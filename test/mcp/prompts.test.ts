import { describe, expect, test } from 'vitest';
import { prompts } from '../../src/mcp/prompts/index.ts';
import { type Given, promptText } from '../../src/mcp/prompts/prompt.ts';
import { resourceKinds } from '../../src/mcp/resources/kinds.ts';
import { valuesIn } from '../../src/mcp/resources/resource.ts';
import { listTools } from '../../src/mcp/server.ts';
import { guideViews } from '../../src/services/guides/index.ts';

/** Prompts are words that name tools, arguments and resources: all of them exist, in the order in which they work. */

const all = listTools({ readOnly: false });
const argumentsOf = new Map(
  all.map((tool) => [tool.name, Object.keys((tool.inputSchema['properties'] ?? {}) as object)]),
);
const names = new Set(argumentsOf.keys());
const readOnly = new Set(listTools({ readOnly: true }).map(({ name }) => name));

/** Every argument given, and none. */
const fillings = prompts.flatMap((prompt) => {
  const whole = Object.fromEntries(prompt.arguments.map(({ name }) => [name, `some_${name}`]));
  const required = prompt.arguments.filter((argument) => argument.required);
  const least = Object.fromEntries(required.map(({ name }) => [name, `some_${name}`]));
  return [whole, least].map((given) => ({ name: prompt.name, prompt, given }));
});

describe.each(fillings)('$name with $given', ({ prompt, given }) => {
  const text = (served: ReadonlySet<string>, args: Given = given) => promptText(prompt, args, served);

  test('names tools that exist, with arguments they take', () => {
    const steps = prompt.steps(given);
    expect(steps.length).toBeGreaterThan(2);
    for (const step of steps) {
      expect([...names], prompt.name).toContain(step.tool);
      for (const key of Object.keys(step.arguments ?? {}))
        expect(argumentsOf.get(step.tool), `${prompt.name}: ${step.tool}`).toContain(key);
    }
    const named = [...text(names).matchAll(/^\d+\. ([a-z_]+)/gm)].map(([, tool]) => tool);
    expect(named).toEqual(steps.map(({ tool }) => tool));
  });

  test('names resources that exist', () => {
    const topics = guideViews().map(({ topic }) => topic);
    for (const [uri] of text(names).matchAll(/millrace:\/\/[\w/]+/g)) {
      const kind = resourceKinds.find((known) => valuesIn(known, uri) !== null);
      expect(kind?.uri, uri).toBeDefined();
      const topic = kind && valuesIn(kind, uri)?.['topic'];
      if (topic) expect(topics).toContain(topic);
    }
  });

  test('uses every argument, and stays short', () => {
    for (const [name, value] of Object.entries(given)) expect(text(names), name).toContain(value);
    expect(text(names)).not.toContain('undefined');
    expect(text(names).length).toBeLessThan(2_500);
  });

  test('read-only, it asks for nothing that is not served', () => {
    if (!readOnly.has(prompt.needs)) return expect(text(readOnly)).not.toBe(text(names));
    const named = [...text(readOnly).matchAll(/^\d+\. ([a-z_]+)/gm)].map(([, tool]) => tool ?? '');
    expect(named.length).toBeGreaterThan(2);
    expect(named.filter((tool) => !readOnly.has(tool))).toEqual([]);
  });
});
