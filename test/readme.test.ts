import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { COMMANDS, GLOBAL_OPTIONS } from '../src/cli/options.ts';
import { restExamples } from '../src/connectors/rest-api/guide.ts';
import { ERROR_CODES } from '../src/core/errors.ts';
import { prompts } from '../src/mcp/prompts/index.ts';
import { resourceCharsMax } from '../src/mcp/resources/contents.ts';
import { resourceKinds } from '../src/mcp/resources/kinds.ts';
import { tools } from '../src/mcp/tools/index.ts';
import { guideViews } from '../src/services/guides/index.ts';

/**
 * The README says what the code does, checked in both directions. Tables made from the code are written by
 * `UPDATE_README=1 npm run tidy`; tables with words of their own must name exactly what there is.
 */
const root = resolve(import.meta.dirname, '..');
const file = join(root, 'README.md');

describe('README', () => {
  test('begins with the two commands', () => {
    const commands = readme()
      .match(/^\$ .*$/gm)
      ?.map((line) => line.replace(/\s+#.*/, ''));
    expect(commands?.slice(0, 2)).toEqual(['$ npm ci && npm run demo', '$ npm ci && npm test']);
    expect(readme().indexOf('$ npm ci')).toBeLessThan(60);
  });

  test('has real output under them, and of the benchmark', () => {
    for (const name of ['demo', 'test', 'bench'])
      expect(block(name).split('\n').length, name).toBeGreaterThan(3);
  });

  test('commands', () => {
    const usage = Object.values(COMMANDS);
    expect(usage.length).toBeGreaterThanOrEqual(4);
    const width = Math.max(...usage.map((command) => command.usage.length));
    const lines = usage.map((command) => `${command.usage.padEnd(width)}   ${command.what}`);
    expectBlock('commands', ['```text', ...lines, '```'].join('\n'));
  });

  test('options', () => {
    const own = Object.values(COMMANDS).flatMap((command) => Object.keys(command.options));
    const wanted = [...Object.keys(GLOBAL_OPTIONS), ...own].map((name) => `--${name}`);
    const told = column('| option |', 0).map((cell) => cell.split(' ')[0]);
    expect(told.toSorted()).toEqual(wanted.toSorted());
  });

  test('tools', () => {
    expect(tools.length).toBeGreaterThanOrEqual(16);
    expect(column('| tool |', 0).toSorted()).toEqual(tools.map((tool) => tool.name).toSorted());
  });

  test('resources, guides and prompts', () => {
    expect(resourceKinds.length).toBeGreaterThanOrEqual(9);
    const resources = resourceKinds.map(({ uri, description }) => `| \`${uri}\` | ${description} |`);
    expectBlock('resources', ['| resource | what it holds |', '|---|---|', ...resources].join('\n'));
    const guides = guideViews().map(({ topic, title }) => `- \`millrace://guides/${topic}\`: ${title}`);
    expectBlock('guides', guides.join('\n'));
    const offered = prompts.map(({ name, description, arguments: args }) => {
      const given = args.map(({ name: arg, required }) => `\`${arg}\`${required ? '' : '?'}`);
      return `| \`${name}\` | ${given.join(' ')} | ${description} |`;
    });
    expectBlock('prompts', ['| prompt | arguments | what for |', '|---|---|---|', ...offered].join('\n'));
    expect(readme()).toContain(`cut at ${resourceCharsMax.toLocaleString('en')} characters`);
  });

  test('an API', () => {
    const example = restExamples.find(({ shows }) => shows.startsWith('bearer token'));
    expectBlock('rest', ['```json', JSON.stringify(example?.connector, null, 2), '```'].join('\n'));
  });

  test('error codes', () => {
    const rows = Object.entries(ERROR_CODES).map(
      ([code, { meaning, recovery, who }]) =>
        `| \`${code}\` | ${meaning} | ${recovery === 'retry' ? 'yes' : ''} | ${who} |`,
    );
    expect(rows.length).toBeGreaterThanOrEqual(30);
    const head = ['| code | what it means | retried | who acts |', '|---|---|---|---|'];
    expectBlock('errors', [...head, ...rows].join('\n'));
  });

  test('configuration keys and their defaults', () => {
    const example = JSON.parse(readFileSync(join(root, 'mcp.config.example.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    const wanted = flatten(example['millrace']);
    expect(wanted.length).toBeGreaterThanOrEqual(10);
    const told = column('| key |', 0).map((key, i) => [key, column('| key |', 1)[i]]);
    expect(told).toEqual(wanted);
  });

  test('links lead somewhere', () => {
    const pages = ['README.md', 'src/README.md', 'test/README.md'];
    const dead = pages.flatMap((page) => {
      const text = readFileSync(join(root, page), 'utf8');
      const links = [...text.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] ?? '');
      expect(links.length, page).toBeGreaterThan(0);
      return links
        .filter((link) => !link.startsWith('http') && !leads(page, link))
        .map((link) => `${page}: ${link}`);
    });
    expect(dead).toEqual([]);
  });
});

function readme(): string {
  return readFileSync(file, 'utf8');
}

function block(name: string): string {
  const found = new RegExp(`<!-- ${name}:begin[^>]*-->\\n([^]*?)\\n?<!-- ${name}:end -->`).exec(readme());
  if (!found) throw new Error(`README.md has no block "${name}"`);
  return found[1] ?? '';
}

function expectBlock(name: string, wanted: string): void {
  if (process.env['UPDATE_README']) {
    const [begin, end] = [
      new RegExp(`(<!-- ${name}:begin[^>]*-->\\n)[^]*?(<!-- ${name}:end -->)`),
      `${wanted}\n`,
    ];
    writeFileSync(
      file,
      readme().replace(begin, (_, before: string, after: string) => `${before}${end}${after}`),
    );
  }
  expect(block(name), 'run `UPDATE_README=1 npm run tidy`').toBe(wanted);
}

/** Cells of one column of the table that begins with that header, without backticks. */
function column(header: string, index: number): readonly string[] {
  const [, body] = readme().split(`\n${header}`);
  const rows = body?.split('\n').slice(2) ?? [];
  const end = rows.findIndex((row) => !row.startsWith('|'));
  const cells = rows.slice(0, end).map((row) => row.split('|').map((cell) => cell.trim())[index + 1] ?? '');
  return cells.map((cell) => cell.replaceAll('`', ''));
}

/** `{ a: { b: 1 } }` as `[['a.b', '1']]`. */
function flatten(value: unknown, path = ''): readonly (readonly [string, string])[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return [[path, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) => flatten(inner, path ? `${path}.${key}` : key));
}

function leads(page: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : join(dirname(page), path);
  if (globSync(target, { cwd: root }).length === 0) return false;
  if (anchor === undefined) return true;
  const headings = readFileSync(join(root, target), 'utf8').match(/^#+ .*$/gm) ?? [];
  const slug = (line: string): string =>
    line
      .replace(/^#+ /, '')
      .toLowerCase()
      .replaceAll(/[^a-z0-9 _-]/g, '')
      .replaceAll(' ', '-');
  return headings.some((line) => slug(line) === anchor);
}
