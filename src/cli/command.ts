import { asMillraceError, faultOf } from '../core/errors.ts';
import { answer, notice } from './answer.ts';
import { COMMANDS, type CommandLine, type CommandName, readCommandLine } from './options.ts';
import { type Environment, version } from './program.ts';

/** Carries out a command line. Returns the exit code: 0 done, 1 failed, 2 the call itself was wrong. */
export async function runCommand(argv: readonly string[], env: Environment): Promise<number> {
  try {
    const line = readCommandLine(argv);
    if (line.flags.version) {
      answer(version());
      return 0;
    }
    if (line.flags.help) {
      answer(help());
      return 0;
    }
    return await run(line, env);
  } catch (error) {
    const known = asMillraceError(error);
    notice(`${known.code}: ${known.message}\n${known.hint}`);
    if (known.code === 'internal') notice(faultOf(error));
    return known.code === 'invalid_config' ? 2 : 1;
  }
}

/** Each command loads only what it needs: a client waits for the first answer over stdio. */
async function run(line: CommandLine & { readonly command: CommandName }, env: Environment): Promise<number> {
  switch (line.command) {
    case 'stdio':
      return await (await import('./stdio.ts')).stdio(line, env);
    case 'serve':
      return await (await import('./serve.ts')).serve(line, env);
    case 'demo':
      return await (await import('./demo.ts')).demo(line, env);
    case 'sync':
      return await (await import('./sync.ts')).sync(line, env);
    case 'doctor':
      return await (await import('./doctor.ts')).doctor(line, env);
    case 'secret':
      return await (await import('./secret.ts')).secret(line, env);
    case 'key':
      return await (await import('./key.ts')).key(line, env);
    default:
      return line.command satisfies never;
  }
}

function help(): string {
  const width = Math.max(...Object.values(COMMANDS).map((command) => command.usage.length));
  const commands = Object.values(COMMANDS).map(
    (command) => `  ${command.usage.padEnd(width)}  ${command.what}`,
  );
  return [
    'Millrace brings data from PostgreSQL, MySQL and REST APIs to where an AI assistant can use it.',
    '',
    ...commands,
    '',
    'Everywhere:',
    '  --config FILE     the config file (or MILLRACE_CONFIG); its key "millrace" is read',
    "  --data-dir DIR    where everything is kept (or MILLRACE_DATA_DIR; else the system's data folder)",
    '  --read-only       nothing can be registered, changed, synced or deleted',
    '  --toolsets SETS   only these tools: setup, sync, data, or several with commas',
    '  --log-level L     trace, debug, info, warn, error or fatal; logs are JSON lines on stderr',
    '  --help, --version',
  ].join('\n');
}
