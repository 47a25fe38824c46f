import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ERROR_CODES } from '../../src/core/errors.ts';
import { registerSchema, streamSchema } from '../../src/core/schema.ts';
import { resourceCharsMax } from '../../src/mcp/resources/contents.ts';
import { scheduleExamples } from '../../src/services/guides/cron.ts';
import { guideViews } from '../../src/services/guides/index.ts';

/** Guides say what the code does: what they name exists, and what exists is named where that is their matter. */

const guides = guideViews();
const textOf = (topic: string): string => guides.find((guide) => guide.topic === topic)?.text ?? '';
const config: Record<string, unknown> = JSON.parse(
  readFileSync(resolve(import.meta.dirname, '../../mcp.config.example.json'), 'utf8'),
).millrace;

describe('guides', () => {
  test.each(guides)('$topic begins with its heading and is read whole', ({ topic, title, text }) => {
    expect(topic).toMatch(/^[a-z]+$/);
    expect(title.length).toBeGreaterThan(10);
    expect(text).toMatch(/^# /);
    expect(text.length).toBeLessThan(resourceCharsMax);
    expect(text).not.toMatch(/undefined|\[object/);
  });

  test('each topic once', () => {
    expect(guides.map(({ topic }) => topic)).toEqual([
      'rest',
      'incremental',
      'cron',
      'troubleshooting',
      'security',
    ]);
  });

  test('troubleshooting has a row for each code, with who acts', () => {
    const rows = textOf('troubleshooting')
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    expect(rows.map((row) => row.split('`')[1])).toEqual(Object.keys(ERROR_CODES));
    for (const row of rows) expect(row.split('|').map((cell) => cell.trim().length > 3)).toHaveLength(6);
  });

  test('codes in backticks are codes', () => {
    const codes = Object.keys(ERROR_CODES);
    for (const code of ['shrink_refused', 'circuit_open', 'secret_refused', 'read_only', 'query_rejected']) {
      expect(codes).toContain(code);
      expect(
        guides.some(({ text }) => text.includes(`\`${code}\``)),
        code,
      ).toBe(true);
    }
  });

  test('streams of the incremental guide are streams, and every mode is explained', () => {
    const streams = [...textOf('incremental').matchAll(/`(\{"name".*\})`/g)].map(
      ([, json = '']) => JSON.parse(json) as unknown,
    );
    expect(streams.length).toBeGreaterThan(3);
    for (const stream of streams) expect(streamSchema.safeParse(stream).error?.issues).toBeUndefined();
    for (const mode of ['merge', 'append', 'replace'])
      expect(textOf('incremental')).toContain(`- \`${mode}\`: `);
  });

  test('schedules of the cron guide are taken', () => {
    for (const { schedule, means } of scheduleExamples) {
      const given = { name: 'x', type: 'postgresql', config: {}, schedule };
      expect(registerSchema.safeParse(given).error?.issues, means).toBeUndefined();
      expect(textOf('cron')).toContain(`- \`${schedule}\`: ${means}`);
    }
  });

  test('options of the security guide are options of the config file', () => {
    const named = [...textOf('security').matchAll(/`([a-z]+)\.([a-zA-Z]+)`/g)];
    expect(named.length).toBeGreaterThan(4);
    for (const [, section = '', key = ''] of named)
      expect(Object.keys(config[section] as object), section).toContain(key);
  });
});
