import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { serveMcpStdio } from '../../src/mcp/stdio.ts';
import type { HealthReport, Services } from '../../src/services/services.ts';

/** The end of a connection, with the time in our hand: services that take as long as a test says. */

const report: HealthReport = {
  status: 'healthy',
  reasons: [],
  by_health: { healthy: 0, degraded: 0, failing: 0, unknown: 0 },
  connectors: [],
  resting: 0,
  scheduler: { enabled: false, detail: 'none' },
  runs: { queued: 0, running: 0, succeeded: 0, partial: 0, failed: 0, cancelled: 0 },
  storage: { data_dir: '/data', store_bytes: 0, warehouse_bytes: 0, free_bytes: 0, disk_bytes: 0 },
  next_actions: [],
};

function serve(get: () => Promise<HealthReport>): {
  readonly stdin: PassThrough;
  readonly said: () => string;
  readonly faults: readonly string[];
  readonly served: ReturnType<typeof serveMcpStdio>;
} {
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const faults: string[] = [];
  let said = '';
  stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const served = serveMcpStdio({
    // Only get_health is called: what else there is has suites with the real thing.
    services: { health: { get } } as Partial<Services> as Services,
    version: '1.0.0',
    readOnly: false,
    logger: { error: (fields) => faults.push(JSON.stringify(fields)), warn: () => undefined },
    stdin,
    stdout,
  });
  return { stdin, said: () => said, faults, served };
}

const call = (id: number): string =>
  `${JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'get_health', arguments: {} } })}\n`;

describe('the end of stdin', () => {
  test('waits for the answers to what had come', async () => {
    const { stdin, said, served } = serve(async () => {
      await sleep(60);
      return report;
    });
    stdin.end(call(1) + call(2));
    await served.closed;
    const frames = said()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: number; result?: object });
    expect(frames.map((frame) => frame.id)).toEqual([1, 2]);
    expect(frames.every((frame) => frame.result !== undefined)).toBe(true);
  });

  test('does not wait for an answer that does not come, nor for one that nobody wants any more', async () => {
    const never = new Promise<HealthReport>(() => undefined);
    const silent = serve(() => never);
    const cancelled = serve(() => never);
    const order: string[] = [];
    const ends = [
      silent.served.closed.then(() => order.push('silent')),
      cancelled.served.closed.then(() => order.push('cancelled')),
    ];
    silent.stdin.end(call(1));
    const cancel = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } };
    cancelled.stdin.end(`${call(1)}${JSON.stringify(cancel)}\n`);
    await Promise.all(ends);
    expect(order).toEqual(['cancelled', 'silent']);
    expect(silent.said() + cancelled.said()).toBe('');
  });

  test('closing from our side is the same end', async () => {
    const { stdin, served } = serve(async () => report);
    await served.close();
    await served.closed;
    expect(stdin.isPaused()).toBe(true);
  });
});

test('a mistake of ours tells the client nothing of its cause, and the log all of it', async () => {
  const { stdin, said, faults, served } = serve(() => Promise.reject(new TypeError('password=hunter2')));
  stdin.end(call(1));
  await served.closed;
  expect(said()).toContain('internal: ');
  expect(said()).not.toContain('hunter2');
  expect(faults.join('\n')).toContain('password=hunter2');
  expect(faults.join('\n')).toContain('get_health');
});
