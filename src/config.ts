import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { z } from 'zod';
import { MillraceError } from './core/errors.ts';
import { nearest, suggestion } from './core/nearest.ts';

const milliseconds = (least: number, most: number) => z.number().int().min(least).max(most);
const hostRule = z.string().min(1).max(300);

/** The section `millrace` of the config file: every option with its default. */
const section = z.strictObject({
  dataDir: z
    .string()
    .min(1)
    .optional()
    .describe('Folder for what Millrace keeps; relative to the config file.'),
  runs: z
    .strictObject({
      concurrent: z.number().int().min(1).max(32).default(2).describe('Runs at one time.'),
      attempts: z
        .number()
        .int()
        .min(1)
        .max(20)
        .default(3)
        .describe('Attempts of a run before it has failed.'),
      backoffMs: z
        .tuple([milliseconds(1, 3_600_000), milliseconds(1, 86_400_000)])
        .refine(([first, most]) => first <= most, 'the first wait may not be above the longest')
        .default([1_000, 60_000])
        .describe('First and longest wait between attempts.'),
      timeoutMs: milliseconds(1_000, 604_800_000)
        .default(7_200_000)
        .describe('Longest duration of one attempt.'),
    })
    .prefault({}),
  network: z
    .strictObject({
      allow: z
        .array(hostRule)
        .max(1_000)
        .default([])
        .describe('When set, the only hosts that connectors may reach.'),
      allowPrivateHttp: z
        .array(hostRule)
        .max(1_000)
        .default([])
        .describe('Private and loopback hosts that REST connectors may reach all the same.'),
    })
    .prefault({}),
  secrets: z
    .strictObject({
      env: z
        .array(z.string().min(1).max(200))
        .max(1_000)
        .default(['MILLRACE_*'])
        .describe('Environment variables that a reference may name.'),
      files: z
        .array(z.string().refine(isAbsolute, 'an absolute path'))
        .max(1_000)
        .default([])
        .describe('Files and folders that a reference may name.'),
      literals: z
        .enum(['accept', 'reject'])
        .optional()
        .describe(
          'What happens to a credential given in clear: "accept", and "reject" over HTTP, when absent.',
        ),
    })
    .prefault({}),
  query: z
    .strictObject({
      timeoutMs: milliseconds(100, 600_000).default(10_000).describe('Longest duration of a query.'),
      maxRows: z.number().int().min(1).max(100_000).default(1_000).describe('Most rows of an answer.'),
      maxBytes: z
        .number()
        .int()
        .min(1_000)
        .max(10_000_000)
        .default(25_000)
        .describe('Most bytes of an answer.'),
    })
    .prefault({}),
  http: z
    .strictObject({
      host: z
        .string()
        .min(1)
        .max(300)
        .default('127.0.0.1')
        .describe('Address that `millrace serve` listens at.'),
      port: z.number().int().min(0).max(65_535).default(7717).describe('Its port; 0: any that is free.'),
      tokens: z
        .array(
          z.union([
            z.string().min(1).max(10_000),
            z.strictObject({
              name: z.string().min(1).max(60),
              token: z.string().min(1).max(10_000),
              scopes: z
                .array(z.enum(['read', 'operate', 'admin']))
                .min(1)
                .default(['read']),
            }),
          ]),
        )
        .max(1_000)
        .default([])
        .describe('Bearer tokens that are accepted, as references or as "sha256:…".'),
      oauth: z
        .strictObject({
          issuer: z.url().max(2_000),
          audience: z.url().max(2_000),
          jwksUrl: z.url().max(2_000),
        })
        .nullable()
        .default(null)
        .describe('Authorization server whose JWT access tokens are accepted.'),
      allowedHosts: z
        .array(z.string().min(1).max(300))
        .max(100)
        .default([])
        .describe('Names of this server that a Host header may have besides loopback.'),
      requestsPerSecond: z
        .number()
        .int()
        .min(1)
        .max(100_000)
        .default(50)
        .describe('Requests of one principal, over five seconds.'),
    })
    .prefault({}),
  connectors: z
    .array(z.record(z.string(), z.unknown()))
    .max(10_000)
    .default([])
    .describe('Connectors, as `register_connector` takes them.'),
});

/** Options of the contract that nothing here uses yet. Accepted, they would seem to do something. */
const NOT_YET = ['breaker', 'scheduler', 'runs.keepDays'];

/** What the program was told: the file's section, with defaults, and the flags. */
export interface Config extends Readonly<Omit<z.output<typeof section>, 'dataDir'>> {
  /** Absolute. */
  readonly dataDir: string;
  readonly readOnly: boolean;
  readonly logLevel: LogLevel;
  /** Absolute path of the file it came from; null without one. */
  readonly file: string | null;
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface ConfigSources {
  readonly flags: {
    readonly config?: string;
    readonly dataDir?: string;
    readonly readOnly?: boolean;
    readonly logLevel?: string;
  };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What relative paths of flags and environment are relative to; the working directory when absent. */
  readonly cwd?: string;
  readonly home?: string;
  readonly platform?: NodeJS.Platform;
}

/**
 * Flags before environment (`MILLRACE_CONFIG`, `MILLRACE_DATA_DIR`) before file before default. Throws `invalid_config`
 * that names the option and, for an unknown one, the nearest known.
 */
export function loadConfig(sources: ConfigSources): Config {
  const { flags, env, cwd = process.cwd(), home = homedir() } = sources;
  const named = flags.config ?? env['MILLRACE_CONFIG'];
  const file = named === undefined || named === '' ? null : fromHome(named, cwd, home);
  const { dataDir: fromFile, ...options } =
    file === null ? section.parse({}) : parseSection(readSection(file), file);
  const fromOutside = flags.dataDir ?? (env['MILLRACE_DATA_DIR'] || undefined);
  const dataDir =
    fromOutside !== undefined
      ? fromHome(fromOutside, cwd, home)
      : fromFile !== undefined && file !== null
        ? fromHome(fromFile, dirname(file), home)
        : systemDataDir({ env, home, platform: sources.platform ?? process.platform });
  return {
    ...options,
    dataDir,
    readOnly: flags.readOnly ?? false,
    logLevel: logLevel(flags.logLevel ?? 'info'),
    file,
  };
}

function logLevel(name: string): LogLevel {
  const level = LOG_LEVELS.find((known) => known === name);
  if (level) return level;
  throw new MillraceError('invalid_config', `There is no log level "${name.slice(0, 40)}".`, {
    hint: `${suggestion(name, LOG_LEVELS)} Levels: ${LOG_LEVELS.join(', ')}.`,
  });
}

/** JSON knows no shell that would have replaced the `~`. */
function fromHome(path: string, base: string, home: string): string {
  return path === '~' || path.startsWith('~/') ? join(home, path.slice(2)) : resolve(base, path);
}

interface System {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly platform: NodeJS.Platform;
}

/** The system's own place for an application's data. Ten lines, where `env-paths` would add four more kinds of folder. */
function systemDataDir({ env, home, platform }: System): string {
  if (platform === 'win32') return join(env['LOCALAPPDATA'] || join(home, 'AppData', 'Local'), 'Millrace');
  if (platform === 'darwin') return join(home, 'Library', 'Application Support', 'Millrace');
  const xdg = env['XDG_DATA_HOME'];
  // The XDG specification: a relative path there is to be ignored.
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, '.local', 'share'), 'millrace');
}

/** The `millrace` key of the file; `mcpServers` beside it belongs to clients. */
function readSection(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new MillraceError('invalid_config', `The config file ${file} cannot be read (${code}).`, {
      hint: 'Name a file that is there with `--config FILE` or MILLRACE_CONFIG, or leave both out to run on defaults.',
      who: 'person',
    });
  }
  const whole = parseJson(text, file);
  if (typeof whole !== 'object' || whole === null || Array.isArray(whole)) {
    throw badFile(
      file,
      'does not hold a JSON object',
      'Begin with { "millrace": {} }; mcp.config.example.json shows every option.',
    );
  }
  const { millrace = {}, mcpServers: _client, ...others } = whole as Record<string, unknown>;
  const stray = Object.keys(others)[0];
  if (stray !== undefined) throw unknownOption(stray, file);
  return millrace;
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ''));
  } catch (error) {
    // V8 quotes the text around the mistake, and a password may stand there: only the place is taken from it.
    const position = /position (\d+)/.exec(error instanceof Error ? error.message : '')?.[1];
    const before = position === undefined ? null : text.slice(0, Number(position)).split('\n');
    const where =
      before === null ? '' : ` at line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
    throw badFile(
      file,
      `is not JSON${where}`,
      'Look there for a missing comma or quote; comments and a comma after the last item are not JSON.',
    );
  }
}

function parseSection(input: unknown, file: string): z.output<typeof section> {
  const result = section.safeParse(input, { reportInput: false });
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = (issue?.path ?? []).map(String);
  if (issue?.code === 'unrecognized_keys') {
    const option = [...path, issue.keys[0] ?? ''].join('.');
    if (NOT_YET.includes(option)) {
      throw new MillraceError(
        'invalid_config',
        `The option millrace.${option} is not served by this version.`,
        {
          hint: `Remove "${issue.keys[0]}" from the config file; nothing here would use it.`,
          who: 'person',
        },
      );
    }
    throw unknownOption(`millrace.${option}`, file);
  }
  throw new MillraceError(
    'invalid_config',
    `The option millrace${path.map((part) => `.${part}`).join('')} does not hold: ${issue?.message ?? 'wrong value'}.`,
    {
      hint: 'Correct it in the config file; mcp.config.example.json shows every option with its default.',
      who: 'person',
    },
  );
}

/** Every key of the file by its path, for finding what was meant. */
const OPTIONS: readonly string[] = [
  'mcpServers',
  'millrace',
  'millrace.dataDir',
  ...Object.entries(section.parse({})).flatMap(([name, value]) => [
    `millrace.${name}`,
    ...(typeof value !== 'object' || Array.isArray(value)
      ? []
      : Object.keys(value).map((key) => `millrace.${name}.${key}`)),
  ]),
];

/** The nearest among its siblings, else the nearest by the last part alone: `maxRows` is meant for `millrace.query.maxRows`. */
function unknownOption(option: string, file: string): MillraceError {
  const parent = option.slice(0, option.lastIndexOf('.') + 1);
  const leaf = option.slice(parent.length);
  const siblings = OPTIONS.filter((path) => path.startsWith(parent)).map((path) => path.slice(parent.length));
  const sibling = nearest(
    leaf,
    siblings.filter((name) => !name.includes('.')),
  )[0];
  const elsewhere = OPTIONS.find((path) => nearest(leaf, [path.split('.').at(-1) ?? path]).length > 0);
  const meant = sibling === undefined ? elsewhere : `${parent}${sibling}`;
  return new MillraceError('invalid_config', `There is no option "${option}" (${file}).`, {
    hint: `${meant === undefined ? `Options: ${OPTIONS.join(', ')}.` : `Did you mean "${meant}"?`} mcp.config.example.json shows every option.`,
    who: 'person',
  });
}

function badFile(file: string, what: string, hint: string): MillraceError {
  return new MillraceError('invalid_config', `The config file ${file} ${what}.`, { hint, who: 'person' });
}

/**
 * Makes the data folder (0700) and sees that it can be written. A folder that is ours or empty is closed to others; one
 * that holds other things is left as it is, our files in it are 0600. Throws `data_dir_unusable`.
 */
export function openDataDir(dir: string): void {
  try {
    makeDir(dir);
    closeToOthers(dir);
    const probe = join(dir, `.writable-${process.pid}`);
    writeFileSync(probe, '', { mode: 0o600 });
    rmSync(probe, { force: true });
    if (existsSync(join(dir, 'store.db'))) accessSync(join(dir, 'store.db'), constants.R_OK | constants.W_OK);
  } catch (error) {
    throw unusable(dir, error);
  }
}

/**
 * Not `recursive`: where the kernel answers ENOENT below a folder that is there (/proc, some network mounts), Node
 * makes the parent and tries again for ever.
 */
function makeDir(dir: string): void {
  if (existsSync(dir)) {
    if (statSync(dir).isDirectory()) return;
    throw Object.assign(new Error(`${dir} is a file`), { code: 'ENOTDIR' });
  }
  makeDir(dirname(dir));
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    // Another process was quicker.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function closeToOthers(dir: string): void {
  if (process.platform === 'win32' || (statSync(dir).mode & 0o077) === 0) return;
  const entries = readdirSync(dir);
  if (entries.length > 0 && !entries.includes('store.db')) return;
  if (statSync(dir).uid === process.getuid?.()) chmodSync(dir, 0o700);
}

function unusable(dir: string, error: unknown): MillraceError {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
  const other = 'or start with `--data-dir DIR` (or MILLRACE_DATA_DIR) naming another folder';
  if (code === 'ENOSPC') {
    return new MillraceError('disk_full', `No space is left for the data folder ${dir}.`, {
      hint: `Free space there (\`df -h '${dir}'\`), ${other}.`,
    });
  }
  const isFile = code === 'EEXIST' || code === 'ENOTDIR';
  return new MillraceError(
    'data_dir_unusable',
    `The data folder ${dir} ${isFile ? 'is a file, or lies below one' : `cannot be made or written (${code})`}.`,
    {
      hint: isFile
        ? `Move that file away, ${other}.`
        : `Make it writable for this user: \`mkdir -p '${dir}' && chown "$(id -un)" '${dir}'\`, ${other}.`,
      cause: error,
    },
  );
}
