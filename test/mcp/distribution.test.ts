import { execFile } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readCommandLine } from '../../src/cli/options.ts';
import { listTools } from '../../src/mcp/server.ts';
import { bundle, unbundle } from '../bundle/bundle.ts';
import { binariesIn, packageFile, root, unpackInto } from '../bundle/package.ts';
import { launch, token, tryOut } from '../bundle/smoke.ts';
import { startServe } from '../support/serve-process.ts';

/** The forms in which people get the program hold what it needs, and nothing that it does not. */
const run = promisify(execFile);
const pkg = packageFile();
const names = listTools({ readOnly: false }).map(({ name }) => name);
const grain = [
  [1, 'rye'],
  [2, 'oats'],
  [3, 'spelt'],
];
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-distribution-'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the .mcpb bundle', () => {
  const unpacked = (): string => join(folder, 'bundle');

  beforeAll(async () => {
    const file = join(folder, 'millrace.mcpb');
    await bundle(file);
    await unbundle(file, unpacked());
  }, 120_000);

  test('has no machine code, no words for developers, and asks for secrets as such', () => {
    expect(binariesIn(unpacked())).toEqual([]);
    expect(globSync('**/*.{d.ts,map}', { cwd: unpacked() })).toEqual([]);
    expect(existsSync(join(unpacked(), 'node_modules/better-sqlite3'))).toBe(false);
    const manifest = JSON.parse(readFileSync(join(unpacked(), 'manifest.json'), 'utf8')) as {
      readonly version: string;
      readonly tools: readonly { readonly name: string }[];
      readonly user_config: Readonly<Record<string, { readonly sensitive?: boolean }>>;
    };
    expect(manifest.version).toBe(pkg.version);
    expect(manifest.tools.map(({ name }) => name)).toEqual(names);
    const sensitive = Object.entries(manifest.user_config).filter(([, asked]) => asked.sensitive);
    expect(sensitive.map(([key]) => key)).toEqual(['password', 'token']);
  });

  test("does the whole work on Node's own SQLite", { timeout: 60_000 }, async () => {
    const shown = await tryOut(join(folder, 'bundle-state'), 'modern', ({ config, data }) =>
      launch(unpacked(), { token, config_file: config, data_folder: data }),
    );
    expect(shown).toEqual({ protocol: '2026-07-28', tools: names, rows: grain });
  });

  test('what a person leaves empty is as if it were not asked', () => {
    const { command, env } = launch(unpacked(), {});
    expect(command).toEqual([process.execPath, join(unpacked(), 'dist/main.js')]);
    expect(Object.keys(env)).toContain('MILLRACE_PASSWORD');
    expect(new Set(Object.values(env))).toEqual(new Set(['']));
  });
});

describe('the npm package', () => {
  test('packs what is needed and nothing else', async () => {
    const { stdout } = await run('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], { cwd: root });
    const [packed] = JSON.parse(stdout) as { readonly files: readonly { readonly path: string }[] }[];
    const paths = packed?.files.map(({ path }) => path) ?? [];
    const built = globSync('dist/*', { cwd: root });
    const others = ['LICENSE', 'README.md', 'mcp.config.example.json', 'package.json'];
    expect(built.filter((path) => !paths.includes(path))).toEqual([]);
    expect(paths.filter((path) => !path.startsWith('dist/')).toSorted()).toEqual(others);
    expect(paths.filter((path) => path.startsWith('dist/') && !path.endsWith('.js'))).toEqual([
      'dist/LICENSES',
    ]);
  });

  test('has the programs that are started by name, and the licences of what is built in', () => {
    const programs = ['main', 'worker', 'landing-thread', 'query-worker', 'query-watch-thread'];
    expect(programs.filter((name) => !existsSync(join(root, `dist/${name}.js`)))).toEqual([]);
    const licences = readFileSync(join(root, 'dist/LICENSES'), 'utf8');
    expect(licences.match(/^\S+$(?=\n\n)/gm)).toEqual(
      expect.arrayContaining(['@modelcontextprotocol/server', 'croner', 'kysely', 'zod']),
    );
  });

  test('with the packages it names, and no other, says its commands and does the work', {
    timeout: 60_000,
  }, async () => {
    const place = join(folder, 'lib/node_modules/millrace');
    unpackInto(place);
    const main = join(place, pkg.bin.millrace);
    const help = await run(process.execPath, [main, '--help']);
    expect(help.stdout).toContain('millrace serve');
    const shown = await tryOut(join(folder, 'package-state'), 'legacy', ({ config, data }) => ({
      command: [process.execPath, main, '--config', config, '--data-dir', data],
      env: { MILLRACE_TOKEN: token },
    }));
    expect(shown).toMatchObject({ tools: names, rows: grain });
  });

  test('gives the tour as it is built, which starts the program anew beside itself', {
    timeout: 60_000,
  }, async () => {
    const { stdout } = await run(process.execPath, [join(root, pkg.bin.millrace), 'demo', '--rows', '3000']);
    expect(stdout.match(/ equal$/gm)).toHaveLength(3);
    expect(stdout).toContain('Nothing was lost and nothing doubled.');
  });

  test('carries its licence', () => {
    expect(pkg.license).toBe('MIT');
    expect(readFileSync(join(root, 'LICENSE'), 'utf8')).toMatch(/^MIT License\n\nCopyright \(c\) \d{4} /);
  });
});

describe('server.json', () => {
  // https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json, as far as it is used here, and what the
  // registry asks besides: one base address a kind of package, and the name in the package itself.
  const version = z.string().regex(/^\d+\.\d+\.\d+(-[\w.]+)?$/);
  const input = { description: z.string().min(1), isSecret: z.boolean().optional() };
  const schema = z.strictObject({
    $schema: z.literal('https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json'),
    name: z
      .string()
      .max(200)
      .regex(/^io\.github\.[a-zA-Z0-9-]+\/[a-zA-Z0-9._-]+$/),
    title: z.string().min(1).max(100),
    description: z.string().min(1).max(100),
    version,
    packages: z.array(
      z.strictObject({
        registryType: z.literal('npm'),
        registryBaseUrl: z.literal('https://registry.npmjs.org'),
        identifier: z.string(),
        version,
        runtimeHint: z.literal('npx'),
        transport: z.strictObject({ type: z.literal('stdio') }),
        packageArguments: z.array(
          z.strictObject({
            type: z.literal('named'),
            name: z.string().startsWith('--'),
            format: z.literal('filepath'),
            ...input,
          }),
        ),
        environmentVariables: z.array(
          z.strictObject({ name: z.string().regex(/^MILLRACE_[A-Z_]+$/), ...input }),
        ),
      }),
    ),
  });
  const file = schema.parse(JSON.parse(readFileSync(join(root, 'server.json'), 'utf8')));

  test('names this package, and is named by it', () => {
    expect(file.name).toBe(pkg.mcpName);
    expect(file.version).toBe(pkg.version);
    expect(file.packages.map(({ identifier, version: its }) => [identifier, its])).toEqual([
      [pkg.name, pkg.version],
    ]);
  });

  test('its arguments are options, its secrets secret', () => {
    for (const { packageArguments, environmentVariables } of file.packages) {
      for (const { name } of packageArguments) expect(readCommandLine([name, 'x']).command).toBe('stdio');
      expect(environmentVariables.every(({ isSecret }) => isSecret)).toBe(true);
    }
  });
});

describe('Dockerfile', () => {
  const instructions = readFileSync(join(root, 'Dockerfile'), 'utf8')
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\\\n/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => /^(\S+)\s+(.*)$/.exec(line)?.slice(1) ?? [])
    .map(([word = '', rest = '']) => ({ word, rest }));
  const of = (word: string): readonly string[] =>
    instructions.filter((one) => one.word === word).map(({ rest }) => rest);
  const list = (text: string): string[] => JSON.parse(text.slice(text.indexOf('['))) as string[];

  test('is made of instructions that are known, on a Node that the program runs on', () => {
    const known = 'FROM WORKDIR COPY RUN ENV USER VOLUME EXPOSE HEALTHCHECK ENTRYPOINT CMD'.split(' ');
    expect(instructions.filter(({ word }) => !known.includes(word))).toEqual([]);
    for (const image of of('FROM')) expect(image).toMatch(/^node:24-bookworm-slim( AS build)?$/);
  });

  test('copies what is there', () => {
    const copied = of('COPY').map((rest) => rest.split(' '));
    const local = copied.filter(([first]) => !first?.startsWith('--')).flatMap((words) => words.slice(0, -1));
    expect(local).toEqual(expect.arrayContaining(['package.json', 'package-lock.json', 'src', 'LICENSE']));
    expect(local.filter((path) => !existsSync(join(root, path)))).toEqual([]);
    const built = copied.filter(([first]) => first === '--from=build').map(([, path = '']) => path);
    expect(built).toEqual(['/app/node_modules', '/app/dist']);
  });

  test('builds as `npm run build` does, with a bundler that is there', () => {
    const [bundler, ...given] =
      of('RUN')
        .find((rest) => rest.includes('rolldown'))
        ?.split(' ')
        .slice(1) ?? [];
    expect(existsSync(join(root, bundler ?? ''))).toBe(true);
    expect(['rolldown', ...given].join(' ')).toBe(pkg.scripts.build);
  });

  test('runs the server as nobody in particular, with a place for its data', () => {
    const words = instructions.map(({ word }) => word);
    expect(of('USER')).toEqual(['node']);
    expect(words.lastIndexOf('USER')).toBeGreaterThan(words.lastIndexOf('RUN'));
    expect(words.lastIndexOf('USER')).toBeLessThan(words.indexOf('ENTRYPOINT'));
    expect(of('ENV').join(' ')).toContain(`MILLRACE_DATA_DIR=${of('VOLUME')[0]}`);
    expect(list(of('ENTRYPOINT')[0] ?? '')).toEqual(['node', pkg.bin.millrace]);
    const line = readCommandLine(list(of('CMD')[0] ?? ''));
    expect(line).toMatchObject({ command: 'serve', own: { host: '0.0.0.0' } });
  });

  test('its health check knows a server that is well from one that is gone', async () => {
    const serve = await startServe({
      config: { http: { host: '0.0.0.0', tokens: ['a-token-that-is-long-enough-to-be-one'] } },
    });
    const [node, flag, script = ''] = list(of('HEALTHCHECK')[0] ?? '');
    expect([node, flag]).toEqual(['node', '-e']);
    const port = new URL(serve.origin).port;
    expect(script).toContain(':7717/healthz');
    const check = (): Promise<unknown> => run(process.execPath, ['-e', script.replace(':7717', `:${port}`)]);
    await check();
    await serve.stop();
    await expect(check()).rejects.toMatchObject({ code: 1 });
  });
});
