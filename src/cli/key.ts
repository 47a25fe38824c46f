import { openApp } from '../app.ts';
import { MillraceError } from '../core/errors.ts';
import { answer, notice } from './answer.ts';
import { COMMANDS, type CommandLine } from './options.ts';
import type { Environment } from './program.ts';

/** `key rotate`: exit code 0 when nothing needs an older key any more, 1 when a value does not open. */
export async function key(line: CommandLine, env: Environment): Promise<number> {
  const [action, ...rest] = line.positionals;
  if (action !== 'rotate' || rest.length > 0) {
    throw new MillraceError('invalid_config', 'What is to be done with the key?', {
      hint: `Usage: ${COMMANDS.key.usage}.`,
    });
  }
  await using app = await openApp({ flags: line.flags, env, actor: 'cli' });
  const rotation = await app.rotateKey((sealed) => notice(`${sealed} secrets sealed anew`));
  const { keyId, resumed, sealed, retired, unreadable } = rotation;
  answer(
    `${resumed ? 'Went on with key' : 'New key'} ${keyId}: ${sealed} secrets sealed anew${retired.length === 0 ? '' : `, key ${retired.join(', ')} retired`}. Servers that run go on with it by themselves.`,
  );
  if (unreadable.length === 0) {
    answer('Back up master.key now: older copies of it do not open these secrets.');
    return 0;
  }
  answer(
    `${unreadable.length} do not open and stay as they are: ${unreadable.slice(0, 20).join(', ')}. Their key is not here, or they were changed: \`millrace doctor\` says which; store them again, or put the key back and call this once more.`,
  );
  return 1;
}
