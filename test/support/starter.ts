import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';

/** What a starter returns: facts for every worker, and the end of the server at the end of the run. */
interface Started<Address> {
  readonly address: Address;
  stop(): Promise<void>;
}

declare module 'vitest' {
  interface ProvidedContext {
    starter: string;
  }
}

/**
 * vitest's globalSetup: servers that are started once for the whole run, by the first worker that asks. A run of one
 * file does not wait for servers that it does not need.
 */
export async function setupStarters(
  project: TestProject,
  starters: Readonly<Record<string, () => Promise<Started<unknown>>>>,
): Promise<() => Promise<void>> {
  const running = new Map<string, Promise<Started<unknown>>>();
  // Only those who were told the path: anybody on this machine may knock at the port.
  const secret = randomBytes(12).toString('hex');
  const server = createServer((request, response) => {
    const name = request.url?.split('/')[2] ?? '';
    const starter = starters[name];
    if (!starter || !request.url?.startsWith(`/${secret}/`)) {
      response.writeHead(404).end();
      return;
    }
    const started = running.get(name) ?? starter();
    running.set(name, started);
    started.then(
      ({ address }) => response.end(JSON.stringify(address)),
      (error: unknown) => response.writeHead(500).end(JSON.stringify(explained(error))),
    );
  });
  // A server that has to be fetched first takes longer than Node lets a request wait.
  server.requestTimeout = 0;
  await new Promise<void>((settle, fail) => server.once('error', fail).listen(0, '127.0.0.1', settle));
  project.provide('starter', `http://127.0.0.1:${(server.address() as AddressInfo).port}/${secret}`);
  return async () => {
    server.close();
    server.closeAllConnections();
    const ended = await Promise.allSettled(running.values());
    await Promise.all(ended.map((one) => (one.status === 'fulfilled' ? one.value.stop() : null)));
  };
}

/** The shared server of that name; null when no globalSetup offers any. Throws what starting it threw. */
export async function startedServer<Address>(name: string): Promise<Address | null> {
  const starter = inject('starter') as string | undefined;
  if (starter === undefined) return null;
  const response = await fetch(`${starter}/${name}`);
  const answer = (await response.json()) as Address | { readonly message: string };
  if (!response.ok) throw new Error((answer as { readonly message: string }).message);
  return answer as Address;
}

function explained(error: unknown): { readonly message: string } {
  const { message, hint } = error as { readonly message: string; readonly hint?: string };
  return { message: hint === undefined ? message : `${message} ${hint}` };
}
