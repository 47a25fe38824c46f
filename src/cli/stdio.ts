import { openApp } from '../app.ts';
import { serveMcpStdio } from '../mcp/stdio.ts';
import type { CommandLine } from './options.ts';
import { type Environment, version } from './program.ts';

/** Everything has to be over this long after the client left: clients kill what lingers, and count it as a crash. */
const leaveMs = 1_500;

/**
 * MCP over stdio until the client closes stdin or asks the process to stop. A sync that is under way ends at its
 * next batch and goes on when a server starts on the data folder again.
 */
export async function stdio(line: CommandLine, env: Environment): Promise<number> {
  const app = await openApp({ flags: line.flags, env, actor: 'stdio' });
  const { promise: asked, resolve: leave } = Promise.withResolvers<void>();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => leave());
  process.stdout.on('error', () => leave());
  whenOrphaned(leave);
  const served = serveMcpStdio({
    services: app.services,
    version: version(),
    readOnly: app.config.readOnly,
    toolsets: app.config.toolsets,
    logger: app.log,
  });
  app
    .startBackground()
    .catch((error: unknown) =>
      app.log.error({ event: 'start_failed', error }, 'background work did not start'),
    );
  await Promise.race([asked, served.closed]);
  setTimeout(() => process.exit(0), leaveMs).unref();
  await served.close();
  await app[Symbol.asyncDispose]();
  return 0;
}

/** Often enough to be gone within 2 s; a look costs microseconds. */
const parentMs = 250;

/**
 * A client that is killed leaves a stdin that never ends where something else holds its other end (a wrapper, a sibling
 * that inherited it), and servers that nobody talks to. Elsewhere than on Windows an orphan gets another parent.
 */
function whenOrphaned(leave: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent && isThere(parent)) return;
    clearInterval(timer);
    leave();
  }, parentMs);
  timer.unref();
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: there, and another user's.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
