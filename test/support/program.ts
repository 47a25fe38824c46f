import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What a command of the program said, as a person sees it. */
export interface Said {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs one command to its end: `millrace(['secret', 'list', …])`. */
export async function millrace(
  args: readonly string[],
  {
    stdin = '',
    env = {},
    started,
  }: {
    readonly stdin?: string;
    readonly env?: Readonly<Record<string, string>>;
    /** To look at the process while it runs. */
    readonly started?: (child: ChildProcess) => void;
  } = {},
): Promise<Said> {
  const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, NO_COLOR: '1', ...env } });
  started?.(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (part) => (out += String(part)));
  child.stderr.on('data', (part) => (err += String(part)));
  child.stdin.end(stdin);
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, out, err };
}
