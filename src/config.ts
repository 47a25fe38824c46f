import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { z } from 'zod';
import { configSchema } from './core/config-schema.ts';
import { MillraceError } from './core/errors.ts';
import { nearest, suggestion } from './core/nearest.ts';
import { readToolsets, TOOLSETS, type Toolset } from './core/toolsets.ts';

/** What the program was told: the file's section, with defaults, and the flags. */
export interface Config extends Readonly<Omit<z.output<typeof configSchema>, 'dataDir'>> {
  /** Absolute. */
  readonly dataDir: string;
  readonly readOnly: boolean;
  /** Whose tools are served. */
  readonly toolsets: readonly Toolset[];
  readonly logLevel: LogLevel;
  /** Whether the file says what happens to credentials given in clear: over HTTP they are refused when it does not. */
  readonly saysLiterals: boolean;
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
    readonly toolsets?: string;
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
  const written = file === null ? {} : readSection(file);
  const { dataDir: fromFile, ...options } =
    file === null ? configSchema.parse({}) : parseSection(written, file);
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
    toolsets: flags.toolsets === undefined ? TOOLSETS : readToolsets(flags.toolsets),
    logLevel: logLevel(flags.logLevel ?? 'info'),
    saysLiterals: saysLiterals.safeParse(written).success,
    file,
  };
}

const saysLiterals = z.object({ secrets: z.object({ literals: z.string() }) });

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

function parseSection(input: unknown, file: string): z.output<typeof configSchema> {
  const result = configSchema.safeParse(input, { reportInput: false });
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = (issue?.path ?? []).map(String);
  if (issue?.code === 'unrecognized_keys') {
    const option = [...path, issue.keys[0] ?? ''].join('.');
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
  ...Object.entries(configSchema.parse({})).flatMap(([name, value]) => [
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
