import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { openApp } from '../app.ts';
import { MillraceError } from '../core/errors.ts';
import { answer, notice } from './answer.ts';
import { COMMANDS, type CommandLine } from './options.ts';
import type { Environment } from './program.ts';

/** Stores, lists and removes named secrets. The value is never an argument: arguments stand in `ps` and in shell histories. */
export async function secret(line: CommandLine, env: Environment): Promise<number> {
  const [action, name, ...rest] = line.positionals;
  const known = action === 'set' || action === 'list' || action === 'remove';
  if (!known || rest.length > 0 || (action !== 'list' && name === undefined))
    throw wrongCall(rest.length > 0);
  await using app = await openApp({ flags: line.flags, env, actor: 'cli' });
  const { secrets } = app;
  if (action === 'list') {
    const stored = await secrets.list();
    answer(
      stored.length === 0
        ? 'No secrets are stored. `millrace secret set NAME` stores one.'
        : stored.map((one) => `${one.name}  stored ${one.created_at}`).join('\n'),
    );
  } else if (action === 'remove') {
    await secrets.remove(String(name));
    answer(`Removed "${name}".`);
  } else {
    await secrets.set(String(name), await readValue());
    answer(`Stored "${name}", sealed. Name it in a connector as "\${secret:${name}}".`);
  }
  return 0;
}

function wrongCall(tooMany: boolean): MillraceError {
  return new MillraceError(
    'invalid_config',
    tooMany ? 'The value of a secret is not given as an argument.' : 'What is to be done with which secret?',
    {
      hint: `Usage: ${COMMANDS.secret.usage}. \`set\` asks for the value, or reads it from stdin: printf %s "$VALUE" | millrace secret set NAME`,
    },
  );
}

async function readValue(): Promise<string> {
  if (process.stdin.isTTY) return await askHidden();
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}

/** A line editor whose echo goes nowhere. */
async function askHidden(): Promise<string> {
  notice('Value (not shown):');
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  try {
    return await lines.question('');
  } finally {
    lines.close();
  }
}
