import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ConfigSources, loadConfig } from '../../src/config.ts';
import { MillraceError } from '../../src/core/errors.ts';
import { openDataDir } from '../../src/data-dir.ts';
import { scratch } from './store-support.ts';

const example = resolve(import.meta.dirname, '../../mcp.config.example.json');
const linux = {
  flags: {},
  env: {},
  cwd: '/work',
  home: '/home/me',
  platform: 'linux',
} as const satisfies ConfigSources;

function failure(work: () => unknown): MillraceError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(MillraceError);
    return error as MillraceError;
  }
  throw new Error('nothing was thrown');
}

/** Loads a file that holds this; a text is written as it is. */
function load(content: unknown, sources: Partial<ConfigSources> = {}) {
  using folder = scratch();
  const file = join(folder.dir, 'mcp.config.json');
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return {
    file,
    dir: folder.dir,
    config: loadConfig({ ...linux, ...sources, flags: { config: file, ...sources.flags } }),
  };
}

const loading = (content: unknown) => failure(() => load(content));

describe('mcp.config.example.json', () => {
  test('holds every option once, with its default', () => {
    const { dataDir: _shown, ...shown } = loadConfig({ ...linux, flags: { config: example } });
    const { dataDir: _default, ...defaults } = loadConfig(linux);
    expect({ ...shown, file: null, saysLiterals: false }).toEqual(defaults);
    const { millrace } = JSON.parse(readFileSync(example, 'utf8')) as { millrace: Record<string, unknown> };
    const {
      readOnly: _flag,
      toolsets: _sets,
      logLevel: _level,
      file: _file,
      saysLiterals: _said,
      ...options
    } = defaults;
    const { dataDir, ...written } = millrace;
    expect(written).toEqual(options);
    expect(dataDir).toBe('./.millrace');
  });
});

describe('loading', () => {
  test('without a file: defaults, pinned because others rely on them', () => {
    expect(loadConfig(linux)).toEqual({
      dataDir: '/home/me/.local/share/millrace',
      runs: {
        concurrent: 2,
        attempts: 3,
        backoffMs: [1_000, 60_000],
        timeoutMs: 7_200_000,
        keepDays: 90,
        keepRuns: 10_000,
      },
      scheduler: {
        enabled: true,
        timezone: 'UTC',
        healthCheck: '*/15 * * * *',
        catchUp: 'once',
        overlap: 'skip',
        spreadMs: 10_000,
      },
      breaker: { failures: 5, openMs: 300_000 },
      alerts: { webhook: null, secret: null, holdMs: 60_000 },
      network: { allow: [], allowPrivateHttp: [] },
      secrets: { env: ['MILLRACE_*'], files: [], literals: 'accept' },
      query: { timeoutMs: 10_000, maxRows: 1_000, maxBytes: 25_000 },
      http: {
        host: '127.0.0.1',
        port: 7717,
        tokens: [],
        oauth: null,
        allowedHosts: [],
        requestsPerSecond: 1_000,
      },
      connectors: [],
      readOnly: false,
      toolsets: ['setup', 'sync', 'data'],
      logLevel: 'info',
      saysLiterals: false,
      file: null,
    });
  });

  test('each option can be left out, and what clients read is ignored', () => {
    const { config } = load({
      mcpServers: { millrace: { command: 'npx', anything: 1 } },
      millrace: { runs: { attempts: 5 } },
    });
    expect(config.runs).toEqual({
      concurrent: 2,
      attempts: 5,
      backoffMs: [1_000, 60_000],
      timeoutMs: 7_200_000,
      keepDays: 90,
      keepRuns: 10_000,
    });
    expect(load({}).config.query.maxRows).toBe(1_000);
    expect(load('\ufeff{"millrace": {"query": {"maxRows": 5}}}').config.query).toEqual({
      timeoutMs: 10_000,
      maxRows: 5,
      maxBytes: 25_000,
    });
  });

  test('flags before environment before file before default', () => {
    const content = { millrace: { dataDir: 'data' } };
    const { config, dir, file } = load(content);
    expect(config).toMatchObject({ dataDir: join(dir, 'data'), file });
    expect(load(content, { env: { MILLRACE_DATA_DIR: 'from-env' } }).config.dataDir).toBe('/work/from-env');
    expect(load(content, { env: { MILLRACE_DATA_DIR: '' } }).config.dataDir).toMatch(/data$/);
    const both = load(content, {
      env: { MILLRACE_DATA_DIR: '/env' },
      flags: { dataDir: '~/flag', readOnly: true, logLevel: 'debug' },
    });
    expect(both.config).toMatchObject({ dataDir: '/home/me/flag', readOnly: true, logLevel: 'debug' });
    expect(load({ millrace: { dataDir: '~/mine' } }).config.dataDir).toBe('/home/me/mine');
    expect(loadConfig({ ...linux, env: { MILLRACE_CONFIG: example } }).file).toBe(example);
    expect(loadConfig({ ...linux, env: { MILLRACE_CONFIG: '/nope' }, flags: { config: example } }).file).toBe(
      example,
    );
  });

  test.each([
    ['linux', {}, '/home/me/.local/share/millrace'],
    ['linux', { XDG_DATA_HOME: '/xdg' }, '/xdg/millrace'],
    ['linux', { XDG_DATA_HOME: 'relative' }, '/home/me/.local/share/millrace'],
    ['darwin', {}, '/home/me/Library/Application Support/Millrace'],
    ['win32', { LOCALAPPDATA: '/local' }, '/local/Millrace'],
    ['win32', {}, '/home/me/AppData/Local/Millrace'],
  ] as const)('the data folder of %s with %j is %s', (platform, env, dataDir) => {
    expect(loadConfig({ ...linux, platform, env }).dataDir).toBe(dataDir);
  });
});

describe('bad input', () => {
  test.each([
    [{ millrace: { runs: { concurent: 3 } } }, 'millrace.runs.concurent', '"millrace.runs.concurrent"'],
    [{ millrace: { querry: {} } }, 'millrace.querry', '"millrace.query"'],
    [{ millrace: { maxRows: 3 } }, 'millrace.maxRows', '"millrace.query.maxRows"'],
    [
      { millrace: { secrets: { literal: 'accept' } } },
      'millrace.secrets.literal',
      '"millrace.secrets.literals"',
    ],
    [{ milrace: {} }, 'milrace', '"millrace"'],
    [{ dataDir: '.' }, 'dataDir', '"millrace.dataDir"'],
    [{ millrace: { zzzzzzzz: 1 } }, 'millrace.zzzzzzzz', 'millrace.runs.concurrent'],
  ])('%j: names the option and the nearest one', (content, named, near) => {
    const error = loading(content);
    expect(error).toMatchObject({ code: 'invalid_config', message: expect.stringContaining(`"${named}"`) });
    expect(error.hint).toContain(near);
  });

  test.each([
    [{ timezone: 'Europe/Berln' }, 'timezone', 'Did you mean "Europe/Berlin"'],
    [{ healthCheck: 'often' }, 'healthCheck', 'five or six fields'],
  ])('scheduler %j: says what is wrong with it', (scheduler, option, said) => {
    const { message } = loading({ millrace: { scheduler } });
    expect(message).toContain(`millrace.scheduler.${option} does not hold`);
    expect(message).toContain(said);
  });

  test.each([
    [{ runs: { concurrent: 0 } }, 'millrace.runs.concurrent'],
    [{ alerts: { webhook: 'https://example.com' } }, 'millrace.alerts.secret'],
    [{ alerts: { webhook: 'https://example.com', secret: 'whsec_a2V5' } }, 'millrace.alerts.secret'],
    [{ runs: { attempts: '3' } }, 'millrace.runs.attempts'],
    [{ runs: { backoffMs: [5_000, 1_000] } }, 'millrace.runs.backoffMs'],
    [{ runs: { backoffMs: [1] } }, 'millrace.runs.backoffMs'],
    [{ breaker: { failures: 0 } }, 'millrace.breaker.failures'],
    [{ breaker: { openMs: 90_000_000 } }, 'millrace.breaker.openMs'],
    [{ secrets: { files: ['relative'] } }, 'millrace.secrets.files.0'],
    [{ secrets: { literals: 'maybe' } }, 'millrace.secrets.literals'],
    [{ query: { maxBytes: 1 } }, 'millrace.query.maxBytes'],
    [{ connectors: ['shop'] }, 'millrace.connectors.0'],
    [{ dataDir: '' }, 'millrace.dataDir'],
    [[], 'millrace'],
  ])('%j: names what does not hold', (millrace, path) => {
    const error = loading({ millrace });
    expect(error).toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining(`The option ${path} does not hold`),
    });
  });

  test('a file that is not JSON: says where, and repeats nothing of it', () => {
    const error = loading('{\n  "millrace": {\n    "x": "hunter2" oops\n  }\n}');
    expect(error.message).toMatch(/is not JSON at line 3, column \d+/);
    for (const text of ['', 'hunter2', '{"a": hunter2}', '// hunter2\n{}', '[]', 'null', '"hunter2"']) {
      const view = JSON.stringify(loading(text).toView());
      expect(view).toContain('invalid_config');
      expect(view).not.toContain('hunter2');
    }
  });

  test('a file that is not there, a level that is not there', () => {
    expect(failure(() => loadConfig({ ...linux, flags: { config: 'nope.json' } }))).toMatchObject({
      code: 'invalid_config',
      message: 'The config file /work/nope.json cannot be read (ENOENT).',
    });
    expect(failure(() => loadConfig({ ...linux, flags: { logLevel: 'warning' } })).hint).toContain('"warn"');
  });
});

describe('the data folder', () => {
  const mode = (path: string): number => statSync(path).mode & 0o777;

  test('is made for this user alone, with what lies above it, and left without a trace of the test', () => {
    using folder = scratch();
    const dir = join(folder.dir, 'a', 'b');
    openDataDir(dir);
    expect(mode(dir)).toBe(0o700);
    expect(readdirSync(dir)).toEqual([]);
    openDataDir(dir);
  });

  test('is closed to others when it is ours or empty; a folder with other things in it is left as it is', () => {
    using folder = scratch();
    const ours = join(folder.dir, 'ours');
    mkdirSync(ours);
    chmodSync(ours, 0o755);
    writeFileSync(join(ours, 'store.db'), '');
    const home = join(folder.dir, 'home');
    mkdirSync(home);
    chmodSync(home, 0o755);
    writeFileSync(join(home, 'letter.txt'), '');
    openDataDir(ours);
    openDataDir(home);
    expect([mode(ours), mode(home)]).toEqual([0o700, 0o755]);
  });

  test('that is a file, or below one, is refused', () => {
    using folder = scratch();
    const file = join(folder.dir, 'file');
    writeFileSync(file, '');
    for (const dir of [file, join(file, 'below')]) {
      const error = failure(() => openDataDir(dir));
      expect(error).toMatchObject({
        code: 'data_dir_unusable',
        message: expect.stringContaining('is a file'),
      });
      expect(error.hint).toContain('--data-dir');
    }
    expect(readFileSync(file, 'utf8')).toBe('');
  });

  test('that may not be written is refused, and what the hint says mends it', () => {
    using folder = scratch();
    const dir = join(folder.dir, 'locked');
    mkdirSync(dir);
    writeFileSync(join(dir, 'other'), '');
    chmodSync(dir, 0o555);
    chmodSync(folder.dir, 0o755);
    const refused = openAsNobody(dir);
    expect(refused).toMatchObject({
      code: 'data_dir_unusable',
      message: expect.stringContaining('(EACCES)'),
    });
    expect(refused?.hint).toContain(`chown "$(id -un)" '${dir}'`);
    chmodSync(dir, 0o777); // as the hint's chown: writable for that user
    expect(openAsNobody(dir)).toBeNull();
  });
});

/** Root may write anywhere, so the question is asked as somebody else: null when all is well, else the error. */
function openAsNobody(dir: string): { code: string; message: string; hint: string } | null {
  const module = resolve(import.meta.dirname, '../../src/data-dir.ts');
  const code = `
    import { openDataDir } from ${JSON.stringify(module)};
    if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }
    try { openDataDir(${JSON.stringify(dir)}); process.stdout.write('null'); }
    catch (error) { process.stdout.write(JSON.stringify(error.toView())); }`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return JSON.parse(stdout) as ReturnType<typeof openAsNobody>;
}
