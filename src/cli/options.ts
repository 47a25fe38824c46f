import { type ParseArgsConfig, parseArgs } from 'node:util';
import { MillraceError } from '../core/errors.ts';
import { suggestion } from '../core/nearest.ts';

/** Options that every command takes. The README lists the same; a test compares them. */
export const GLOBAL_OPTIONS = {
  config: { type: 'string' },
  'data-dir': { type: 'string' },
  'read-only': { type: 'boolean' },
  toolsets: { type: 'string' },
  'log-level': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const satisfies ParseArgsConfig['options'];

export interface GlobalFlags {
  readonly config?: string;
  readonly dataDir?: string;
  readonly readOnly: boolean;
  readonly toolsets?: string;
  readonly logLevel?: string;
  readonly help: boolean;
  readonly version: boolean;
}

export interface CommandLine {
  readonly command: string;
  readonly positionals: readonly string[];
  readonly flags: GlobalFlags;
  /** Options of single commands, by their own name. */
  readonly own: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
}

/** What each command takes beside the global options. */
export const COMMANDS = {
  stdio: { usage: 'millrace', what: 'MCP over stdio: what a client launches', options: {} },
  demo: {
    usage: 'millrace demo [--source S]',
    what: 'a tour: starts a database server, registers it, syncs, changes rows, syncs again, asks questions',
    options: { source: { type: 'string' }, rows: { type: 'string' } },
  },
  serve: {
    usage: 'millrace serve [--host H] [--port P]',
    what: 'MCP over HTTP at /mcp, a dashboard at /, /healthz and /metrics: the always-on form',
    options: { host: { type: 'string' }, port: { type: 'string' } },
  },
  sync: {
    usage: 'millrace sync CONNECTOR [--stream S …] [--full-refresh]',
    what: 'one run in the terminal; the exit code says how it went',
    options: { stream: { type: 'string', multiple: true }, 'full-refresh': { type: 'boolean' } },
  },
  doctor: {
    usage: 'millrace doctor',
    what: 'what is wrong with this installation, and what to do',
    options: {},
  },
  secret: {
    usage: 'millrace secret set|list|remove NAME',
    what: 'stored secrets, for ${secret:NAME}; `set` reads the value from the terminal or from stdin',
    options: {},
  },
  key: {
    usage: 'millrace key rotate',
    what: 'seals every stored secret with a new key, while servers go on; called again it finishes what was interrupted',
    options: {},
  },
} as const satisfies Record<
  string,
  { usage: string; what: string; options: NonNullable<ParseArgsConfig['options']> }
>;

export type CommandName = keyof typeof COMMANDS;

/** Reads the command line. Throws `invalid_config` naming the nearest command or option. */
export function readCommandLine(argv: readonly string[]): CommandLine & { readonly command: CommandName } {
  const command = commandOf(argv);
  const options: NonNullable<ParseArgsConfig['options']> = {
    ...GLOBAL_OPTIONS,
    ...COMMANDS[command].options,
  };
  const { values, positionals } = parse(argv, options);
  const own = Object.fromEntries(Object.entries(values).filter(([key]) => !(key in GLOBAL_OPTIONS)));
  return {
    command,
    positionals: command === 'stdio' ? positionals : positionals.slice(1),
    flags: {
      ...(typeof values['config'] === 'string' ? { config: values['config'] } : {}),
      ...(typeof values['data-dir'] === 'string' ? { dataDir: values['data-dir'] } : {}),
      readOnly: values['read-only'] === true,
      ...(typeof values['toolsets'] === 'string' ? { toolsets: values['toolsets'] } : {}),
      ...(typeof values['log-level'] === 'string' ? { logLevel: values['log-level'] } : {}),
      help: values['help'] === true,
      version: values['version'] === true,
    },
    own: own as CommandLine['own'],
  };
}

function commandOf(argv: readonly string[]): CommandName {
  const takesValue = new Set(
    [GLOBAL_OPTIONS, ...Object.values(COMMANDS).map(({ options }) => options)].flatMap((options) =>
      Object.entries<{ readonly type: string }>(options).flatMap(([name, { type }]) =>
        type === 'string' ? [`--${name}`] : [],
      ),
    ),
  );
  const word = argv.find((part, index) => !part.startsWith('-') && !takesValue.has(argv[index - 1] ?? ''));
  if (word === undefined) return 'stdio';
  const commands = Object.keys(COMMANDS).filter((name) => name !== 'stdio');
  if (commands.includes(word)) return word as CommandName;
  throw new MillraceError('invalid_config', `There is no command "${word}".`, {
    hint: `${suggestion(word, commands)} \`millrace --help\` lists them; without a command it speaks MCP over stdio.`,
  });
}

function parse(
  argv: readonly string[],
  options: NonNullable<ParseArgsConfig['options']>,
): { values: Record<string, unknown>; positionals: readonly string[] } {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
  } catch (error) {
    const unknown = /'(-[^' =]+)/.exec(error instanceof Error ? error.message : '')?.[1] ?? '';
    const known = Object.keys(options).map((name) => `--${name}`);
    throw new MillraceError(
      'invalid_config',
      error instanceof Error ? firstSentence(error.message) : 'The options cannot be read.',
      {
        hint: suggestion(unknown, known),
      },
    );
  }
}

function firstSentence(text: string): string {
  return `${text.split('. ')[0]?.replace(/\.$/, '')}.`;
}
