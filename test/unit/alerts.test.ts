import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import { type AlertState, type Change, decide } from '../../src/core/alerts.ts';
import type { Health } from '../../src/core/health.ts';
import { type Attempt, createDeliveries } from '../../src/engine/deliveries.ts';
import type { Store } from '../../src/store/store.ts';
import { never, type Seen, serve } from '../support/http-support.ts';
import { type HandClock, handClock, open, scratch } from './store-support.ts';

const words: readonly Health[] = ['healthy', 'degraded', 'failing', 'unknown'];

describe('what is told', () => {
  test('a state that held, once, and never one that came and went between two looks', () => {
    const look = fc.record({ health: fc.constantFrom(...words), after: fc.integer({ min: 1, max: 90 }) });
    fc.assert(
      fc.property(fc.array(look, { maxLength: 60 }), (looks) => {
        const holdMs = 60;
        let state: AlertState | undefined;
        let at = 1_000;
        let told: Health = 'unknown';
        const seen: { readonly health: Health; readonly at: number }[] = [];
        for (const { health, after } of looks) {
          at += after;
          seen.push({ health, at });
          const decision = decide(state, { subject: 'shop', health, at }, holdMs);
          const { change } = decision;
          state = decision.state ?? state;
          if (change !== undefined) {
            expect(change).toMatchObject({ subject: 'shop', to: health } satisfies Partial<Change>);
            expect(change.from).not.toBe(change.to);
            expect(change.from).toBe(told);
            expect(at - change.since).toBeGreaterThanOrEqual(holdMs);
            const since = seen.filter((one) => one.at >= change.since);
            expect(since.length).toBeGreaterThanOrEqual(2);
            expect(new Set(since.map((one) => one.health))).toEqual(new Set([health]));
          }
          told = state?.told ?? told;
        }
      }),
    );
  });

  test('not a connector that is well when it is first seen, nor one that was switched off', () => {
    expect(run('healthy', 'healthy', 'healthy')).toEqual([]);
    expect(run('failing', 'failing')).toEqual(['unknown failing']);
    expect(run('failing', 'failing', 'unknown', 'unknown')).toEqual(['unknown failing']);
    expect(run('healthy', 'healthy', 'failing', 'healthy', 'failing', 'healthy')).toEqual([]);
    expect(run('healthy', 'healthy', 'failing', 'failing', 'failing', 'healthy', 'healthy')).toEqual([
      'healthy failing',
      'failing healthy',
    ]);
  });
});

/** Looks a minute apart, and what was told. */
function run(...looks: readonly Health[]): readonly string[] {
  let state: AlertState | undefined;
  return looks.flatMap((health, index) => {
    const decision = decide(state, { subject: 'shop', health, at: index * 60_000 }, 60_000);
    state = decision.state ?? state;
    return decision.change === undefined ? [] : [`${decision.change.from} ${decision.change.to}`];
  });
}

const secret = `whsec_${Buffer.from('an alert is only as good as its key').toString('base64')}`;
const url = (origin: string): string => `${origin}/hook/very-secret-path`;

/** A clock near the real one: receivers refuse signatures that are minutes old. */
const clockNow = (): HandClock => handClock(Date.now());

async function put(store: Store, subject: string, body: object): Promise<void> {
  await store.alerts.remember([], [{ subject, id: `msg_${subject}_${JSON.stringify(body).length}`, body }]);
}

function deliveries(
  store: Store,
  clock: HandClock,
  { to, key = secret }: { readonly to: string; readonly key?: string },
) {
  const attempts: Attempt[] = [];
  const { deliver } = createDeliveries({
    alerts: store.alerts,
    target: async () => ({ url: to, secret: key }),
    now: clock.now,
    random: () => 0.5,
    onAttempt: (attempt) => attempts.push(attempt),
  });
  return { deliver, attempts };
}

const verified = ({ body, headers }: Seen): unknown =>
  new Webhook(secret).verify(body, headers as Record<string, string>);

describe('delivery', () => {
  test('is signed so that the library of Standard Webhooks verifies it, and sent once', async () => {
    using folder = scratch();
    const clock = clockNow();
    await using store = await open(folder.file, clock.now);
    await using receiver = await serve((_, response) => void response.writeHead(204).end());
    await put(store, 'shop', {
      type: 'health.changed',
      data: { to: 'failing', why: ['“quoted” — and 中文'] },
    });
    const { deliver } = deliveries(store, clock, { to: url(receiver.origin) });
    await deliver(never);
    await deliver(never);
    expect(receiver.seen).toHaveLength(1);
    expect(receiver.seen.map(verified)).toEqual([
      { type: 'health.changed', data: { to: 'failing', why: ['“quoted” — and 中文'] } },
    ]);
    const forged = { ...(receiver.seen[0] as Seen), body: '{"data":{"to":"healthy"}}' };
    expect(() => verified(forged)).toThrow();
    expect(await store.alerts.undelivered()).toEqual({ alerts: 0 });
  });

  test('is tried again under the same id, later each time, over a restart, until it is taken', async () => {
    using folder = scratch();
    const clock = clockNow();
    const answers = [500, 503, 302, 200];
    await using receiver = await serve(
      (_, response, count) =>
        void response.writeHead(answers[count - 1] ?? 200, { location: '/elsewhere' }).end(),
    );
    const waits: number[] = [];
    for (let turn = 1; turn <= answers.length; turn += 1) {
      await using store = await open(folder.file, clock.now);
      if (turn === 1) await put(store, 'shop', { n: 1 });
      const { deliver } = deliveries(store, clock, { to: url(receiver.origin) });
      await deliver(never);
      await deliver(never);
      expect(receiver.seen).toHaveLength(turn);
      if (turn === answers.length) break;
      expect(await store.alerts.undelivered()).toEqual({
        alerts: 1,
        error: `the receiver answered ${answers[turn - 1]}`,
      });
      const before = clock.now().getTime();
      while ((await store.alerts.due(1)).length === 0) clock.pass(100);
      waits.push(clock.now().getTime() - before);
    }
    expect(new Set(receiver.seen.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(receiver.seen.every(({ url: path }) => path === '/hook/very-secret-path')).toBe(true);
    expect(waits).toEqual([2_500, 5_000, 10_000]);
  });

  test('a newer change of the same subject takes the place of one that was not taken', async () => {
    using folder = scratch();
    const clock = clockNow();
    await using store = await open(folder.file, clock.now);
    let status = 500;
    await using receiver = await serve((_, response) => void response.writeHead(status).end());
    const { deliver } = deliveries(store, clock, { to: url(receiver.origin) });
    await put(store, 'shop', { to: 'failing' });
    await deliver(never);
    await put(store, 'shop', { to: 'healthy' });
    await put(store, 'crm', { to: 'failing' });
    status = 200;
    await deliver(never);
    expect(receiver.seen.map(({ body }) => body).toSorted()).toEqual([
      '{"to":"failing"}',
      '{"to":"failing"}',
      '{"to":"healthy"}',
    ]);
    expect(await store.alerts.due(10)).toEqual([]);
  });

  test('is given up after three days, and what is said of it never holds the address or the key', async () => {
    using folder = scratch();
    const clock = clockNow();
    await using store = await open(folder.file, clock.now);
    await put(store, 'shop', { n: 1 });
    const gone = 'http://127.0.0.1:9/hook/very-secret-path';
    const { deliver, attempts } = deliveries(store, clock, { to: gone });
    await deliver(never);
    clock.pass(3 * 24 * 3_600_000 + 1);
    await deliver(never);
    expect(attempts.map(({ outcome }) => outcome)).toEqual(['postponed', 'given up']);
    expect(attempts[0]?.reason).toContain('the receiver cannot be reached');
    await put(store, 'shop', { n: 2 });
    const bad = deliveries(store, clock, { to: gone, key: 'whsec_%%%not base64' });
    await bad.deliver(never);
    expect(bad.attempts[0]?.reason).toContain('openssl rand -base64 32');
    expect(JSON.stringify([attempts, bad.attempts])).not.toMatch(/very-secret|not base64/);
  });
});
