import { describe, expect, test } from 'vitest';
import { type ErrorView, MillraceError } from '../../src/core/errors.ts';
import { type ConnectorFacts, connectorHealth, staleAfterMs } from '../../src/core/health.ts';
import { type InstallationFacts, installationFindings } from '../../src/core/health-whole.ts';
import { type CheckRounds, createCheckRounds } from '../../src/services/checks.ts';
import type { Context } from '../../src/services/context.ts';
import { type ConnectorVerdict, createVerdicts } from '../../src/services/verdicts.ts';
import type { Outcome } from '../../src/store/store.ts';
import { connector, handClock, open, result, scratch } from './store-support.ts';

const now = Date.parse('2026-11-02T08:00:00.000Z');
const minutes = 60_000;
const ago = (n: number): number => now - n * minutes;
const iso = (n: number): string => new Date(ago(n)).toISOString();

const error = (code: 'host_unreachable' | 'auth_failed'): ErrorView =>
  new MillraceError(code, 'It did not let us in.', { hint: 'Do this.' }).toView();
const ended = (status: 'succeeded' | 'partial' | 'failed', at: number, more = {}) => ({
  ended: { run_id: 'r1', status, at, failedStreams: [], ...more },
});
const sound = ended('succeeded', ago(30));
const down = error('host_unreachable');
const check = (ok: boolean, at: number, more = {}) => ({ check: { at, ok, streamsOnly: false, ...more } });
const active = (more = {}) => ({
  active: { run_id: 'r2', status: 'queued' as const, attempt: 1, queuedAt: ago(1), ...more },
});

/** What is known, the word, what the reason says, and the calls in order. */
const table: readonly (readonly [string, Partial<ConnectorFacts>, string, readonly string[], string])[] = [
  ['nothing is known', {}, 'unknown', [], ''],
  [
    'it is switched off and failed',
    { enabled: false, ...ended('failed', ago(1)) },
    'unknown',
    ['switched off'],
    '',
  ],
  ['the last run succeeded', sound, 'healthy', [], ''],
  ['a first run is under way', active({ status: 'running' }), 'unknown', [], ''],
  ['a run is under way after a success', { ...sound, ...active() }, 'healthy', [], ''],
  [
    'the last run failed',
    ended('failed', ago(5), { error: down }),
    'failing',
    ['the last run failed: host_unreachable: It did not let us in.'],
    'test_connector sync_connector',
  ],
  [
    'the last run failed and another is under way',
    { ...ended('failed', ago(5), { error: down }), ...active() },
    'failing',
    ['the last run failed'],
    'test_connector sync_connector',
  ],
  [
    'it failed and the source answers again',
    { ...ended('failed', ago(5), { error: down }), ...check(true, ago(1)) },
    'failing',
    [`the source passed a check at ${iso(1)}`],
    'test_connector sync_connector',
  ],
  [
    'a login was refused',
    ended('failed', ago(5), { error: error('auth_failed') }),
    'failing',
    ['auth_failed'],
    'update_connector test_connector sync_connector',
  ],
  [
    'streams were left behind',
    ended('partial', ago(5), { failedStreams: ['a', 'b'], error: down }),
    'degraded',
    ['left streams behind (a, b): host_unreachable'],
    'test_connector sync_connector',
  ],
  [
    'it waits to try again',
    { ...sound, ...active({ attempt: 2, retryAt: now + 5_000, error: down }) },
    'degraded',
    ['attempt 1 of run r2 failed (host_unreachable', 'the next starts at 2026-11-02T08:00:05.000Z'],
    'get_run',
  ],
  [
    'the breaker is open',
    { ...sound, breaker: { failures: 5, openUntil: now + 1, error: down } },
    'failing',
    ['no scheduled run starts until 2026-11-02T08:00:00.001Z', '5 runs failed in a row (host_unreachable)'],
    'test_connector sync_connector',
  ],
  [
    'the breaker is half open',
    { ...sound, breaker: { failures: 5, openUntil: now, error: down } },
    'degraded',
    ['the next one is the probe'],
    'test_connector sync_connector',
  ],
  ['it is closed, with failures', { ...sound, breaker: { failures: 2, error: down } }, 'healthy', [], ''],
  [
    'a check failed since',
    { ...sound, ...check(false, ago(1), { error: down }) },
    'failing',
    [`did not pass the check of ${iso(1)}: host_unreachable`],
    'test_connector sync_connector',
  ],
  ['a check failed before', { ...sound, ...check(false, ago(31), { error: down }) }, 'healthy', [], ''],
  [
    'a check of some streams failed',
    { ...sound, ...check(false, ago(1), { streamsOnly: true, error: down }) },
    'degraded',
    ['did not pass the check'],
    'test_connector sync_connector',
  ],
  [
    'a check says what the run has said',
    {
      ...ended('partial', ago(5), { failedStreams: ['a'], error: down }),
      ...check(false, ago(1), { error: down }),
    },
    'degraded',
    ['left streams behind'],
    'test_connector sync_connector',
  ],
  [
    'its schedule promised newer data',
    { ...sound, succeededAt: ago(30), promisedAt: now - staleAfterMs - 1 },
    'degraded',
    ['stale', `the last success was at ${iso(30)}`],
    'sync_connector',
  ],
  [
    'the promise is not long ago',
    { ...sound, succeededAt: ago(30), promisedAt: now - staleAfterMs },
    'healthy',
    [],
    '',
  ],
  [
    'the run that was promised is under way',
    { ...sound, promisedAt: ago(60), ...active({ status: 'running' }) },
    'healthy',
    [],
    '',
  ],
  [
    'nothing ever succeeded though it was promised',
    { promisedAt: ago(60) },
    'degraded',
    ['no run has succeeded yet'],
    'sync_connector',
  ],
  [
    'a run waits for a place',
    { ...sound, ...active({ queuedAt: ago(16) }) },
    'degraded',
    ['runs.concurrent'],
    'list_runs',
  ],
  [
    'rows stand aside',
    {
      ...sound,
      rejects: [
        { stream: 'orders', rows: 2 },
        { stream: 'items', rows: 1 },
      ],
    },
    'degraded',
    ['3 rows were kept aside as rejects (orders: 2, items: 1)'],
    'list_rejects',
  ],
  [
    'the clocks are apart',
    { ...sound, ...check(true, ago(1), { clockSkewMs: -61_000 }) },
    'degraded',
    ["61 s behind this machine's"],
    'test_connector',
  ],
  [
    'the clocks are hardly apart',
    { ...sound, ...check(true, ago(1), { clockSkewMs: 60_000 }) },
    'healthy',
    [],
    '',
  ],
];

test.each(table)('a connector of which %s', (...[, known, health, said, calls]) => {
  const facts: ConnectorFacts = { connector: 'shop', enabled: true, rejects: [], ...known };
  const verdict = connectorHealth(facts, now);
  expect(verdict.health).toBe(health);
  const reasons = verdict.reasons.join('; ');
  for (const words of said) expect(reasons).toContain(words);
  if (said.length === 0) expect(reasons).toBe('');
  expect(verdict.next_actions.map(({ tool }) => tool).join(' ')).toBe(calls);
});

test('the worst of several decides, and every reason is said', () => {
  const facts: ConnectorFacts = {
    connector: 'shop',
    enabled: true,
    ...ended('failed', ago(5), { error: down }),
    rejects: [{ stream: 'orders', rows: 1 }],
    breaker: { failures: 5, openUntil: now + 1, error: down },
  };
  const { health, reasons, error: first, next_actions } = connectorHealth(facts, now);
  expect(health).toBe('failing');
  expect(reasons).toHaveLength(3);
  expect(first?.code).toBe('host_unreachable');
  const calls = next_actions.map((action) => JSON.stringify([action.tool, action.arguments]));
  expect(new Set(calls).size).toBe(calls.length);
});

describe('the installation', () => {
  const MB = 2 ** 20;
  const well: InstallationFacts = {
    freeBytes: 50_000 * MB,
    diskBytes: 100_000 * MB,
    storeBytes: 10 * MB,
    scheduled: 3,
    scheduler: { enabled: true, detail: 'This process.' },
    undelivered: { alerts: 0 },
  };

  test.each<readonly [string, Partial<InstallationFacts>, readonly string[], string]>([
    ['all is well', {}, [], ''],
    ['little space', { freeBytes: 511 * MB }, ['degraded'], 'only 511 MB are free'],
    [
      'what has landed cannot be read',
      { unreadable: { message: 'warehouse.db is damaged.', hint: 'Put a backup in its place.' } },
      ['failing'],
      'is not known: warehouse.db is damaged. Put a backup in its place.',
    ],
    ['hardly any space', { freeBytes: 63 * MB }, ['failing'], 'runs fail or stand still'],
    ['a small disk that is half empty', { freeBytes: 12 * MB, diskBytes: 24 * MB }, [], ''],
    ['a small disk, nearly full', { freeBytes: 2 * MB, diskBytes: 24 * MB }, ['degraded'], '2 MB are free'],
    ['a small disk, full', { freeBytes: 0, diskBytes: 24 * MB }, ['failing'], '0 MB are free'],
    ['a store that grew', { storeBytes: 2049 * MB }, ['degraded'], 'runs.keepDays'],
    [
      'schedules and nobody',
      { scheduler: { enabled: false, detail: 'It is off.' } },
      ['degraded'],
      '3 connectors have a schedule and nothing starts it: It is off.',
    ],
    [
      'nobody, and no schedules',
      { scheduled: 0, scheduler: { enabled: false, detail: 'It is off.' } },
      [],
      '',
    ],
    [
      'alerts that nobody takes',
      { undelivered: { alerts: 2, error: 'the receiver answered 500' } },
      ['degraded'],
      '2 alerts were not taken by alerts.webhook yet (the receiver answered 500)',
    ],
  ])('with %s', (_, known, health, said) => {
    const findings = installationFindings({ ...well, ...known });
    expect(findings.map((finding) => finding.health)).toEqual(health);
    expect(findings.map(({ reason }) => reason).join()).toContain(said);
  });
});

describe('rounds of checks', () => {
  /** Connectors in a store, and processes that look at them: each look takes `lookMs` and is written down. */
  const world = async (names: readonly string[], lookMs = 500) => {
    const folder = scratch();
    const clock = handClock();
    const store = await open(folder.file, clock.now);
    for (const name of names) await store.connectors.insert(connector(name));
    const looked: string[] = [];
    let onLook = (): void => undefined;
    const context = {
      now: clock.now,
      checks: store.checks,
      connectors: store.connectors,
      breakers: store.breakers,
      settings: { readOnly: false, network: {} },
      secrets: { reveal: async (_: string, config: unknown) => config },
      threads: {
        run: async ({ source }: { source: { connector: string } }) => {
          looked.push(source.connector);
          clock.pass(lookMs);
          onLook();
          return { ok: true, checks: [], warnings: [] };
        },
      },
    } as unknown as Context;
    return {
      clock,
      store,
      process: () => createCheckRounds(context),
      /** One round, begun a quarter of an hour after the one before; who was looked at, by name. */
      async round(rounds: CheckRounds, { leaveAfter }: { leaveAfter?: number } = {}): Promise<string> {
        const leaving = new AbortController();
        const begun = clock.now().getTime();
        looked.length = 0;
        onLook = () => looked.length === leaveAfter && leaving.abort();
        await rounds.round(leaving.signal);
        clock.pass(begun + 15 * minutes - clock.now().getTime());
        return [...looked].sort().join(' ');
      },
      async [Symbol.asyncDispose]() {
        await store[Symbol.asyncDispose]();
        folder[Symbol.dispose]();
      },
    };
  };

  test('every round looks at every connector, also the first of a process that takes over', async () => {
    await using one = await world(['a', 'b', 'c']);
    const first = one.process();
    for (const _ of [1, 2, 3]) expect(await one.round(first)).toBe('a b c');
    const second = one.process();
    for (const _ of [1, 2]) expect(await one.round(second)).toBe('a b c');
  });

  test('a look in the very moment in which the round ended is of that round', async () => {
    await using one = await world(['a', 'b'], 0);
    const rounds = one.process();
    for (const _ of [1, 2, 3]) expect(await one.round(rounds)).toBe('a b');
  });

  test('whom somebody has met since the last round is passed over', async () => {
    await using one = await world(['a', 'b', 'c']);
    const rounds = one.process();
    await one.round(rounds);
    one.clock.pass(-minutes);
    await one.store.checks.put('b', { ok: true, checks: [], warnings: [] });
    await one.store.runs.enqueue({ connector: 'c', trigger: 'manual', fullRefresh: false });
    const claim = await one.store.runs.claim('p', 1_000);
    if (claim === null) throw new Error('nothing to claim');
    await one.store.runs.finish(claim, { status: 'succeeded', streams: [] });
    one.clock.pass(minutes);
    expect(await one.round(rounds)).toBe('a');
    expect(await one.round(rounds)).toBe('a b c');
  });

  test('one that ended early is gone on with where it was left, whoever does it', async () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    await using one = await world(names);
    const first = one.process();
    const seen = await one.round(first, { leaveAfter: 2 });
    expect(seen.split(' ').length).toBeLessThan(names.length);
    expect(await one.round(one.process())).toBe('a b c d e');
    await one.round(first, { leaveAfter: 2 });
    expect(await one.round(first)).toBe('a b c d e');
  });

  test('a long one leaves enough of a pause for the next process to begin anew', async () => {
    const names = Array.from({ length: 9 }, (_, n) => `c${n}`);
    await using one = await world(names, minutes);
    expect(await one.round(one.process())).toBe(names.join(' '));
    expect(await one.round(one.process())).toBe(names.join(' '));
  });
});

describe('a connector that has had runs', () => {
  const failed = (code: 'host_unreachable' | 'auth_failed') => ({
    status: 'failed' as const,
    error: error(code),
  });
  const fine = { status: 'succeeded' as const };
  const [a, b] = ['a', 'b'].map((name) => ({ name, table: name }));
  if (a === undefined || b === undefined) throw new Error('two streams');

  /** A connector of two streams, the runs it has had, and the word for it. */
  const world = async (more = {}) => {
    const folder = scratch();
    const clock = handClock(now);
    const store = await open(folder.file, clock.now);
    const shop = connector('shop', { streams: [a, b], ...more });
    await store.connectors.insert(shop);
    const verdicts = createVerdicts({
      health: store.health,
      warehouse: { rejectCounts: async () => [] },
      settings: { scheduler: { timezone: 'UTC' } },
      now: clock.now,
    } as unknown as Context);
    type Ends = Readonly<Record<string, { status: 'succeeded' } | ReturnType<typeof failed>>>;
    const outcome = (ends: Ends): Outcome => {
      const streams = Object.entries(ends).map(([stream, end]) => result(stream, end));
      const errors = streams.flatMap((one) => one.error ?? []);
      const status =
        errors.length === 0 ? 'succeeded' : errors.length < streams.length ? 'partial' : 'failed';
      return { status, streams, ...(errors[0] === undefined ? {} : { error: errors[0] }) };
    };
    return {
      store,
      clock,
      shop,
      /** A run that ends a minute after it was asked for. */
      async run(end: Ends | Outcome, streams?: readonly string[], attempts: readonly Ends[] = []) {
        const asked = { connector: 'shop', trigger: 'manual', fullRefresh: false } as const;
        await store.runs.enqueue({ ...asked, ...(streams === undefined ? {} : { streams }) });
        clock.pass(minutes);
        for (const attempt of attempts) {
          const claim = await store.runs.claim('p', 1_000);
          if (claim === null) throw new Error('nothing to claim');
          await store.runs.retry(claim, clock.now(), outcome(attempt));
        }
        const claim = await store.runs.claim('p', 1_000);
        if (claim === null) throw new Error('nothing to claim');
        const ended = 'streams' in end ? (end as Outcome) : outcome(end as Ends);
        expect(await store.runs.finish(claim, ended)).toBe(true);
      },
      async verdict(): Promise<ConnectorVerdict> {
        const verdict = (await verdicts.of(['shop'])).get('shop');
        if (verdict === undefined) throw new Error('not there');
        return verdict;
      },
      async [Symbol.asyncDispose]() {
        await store[Symbol.asyncDispose]();
        folder[Symbol.dispose]();
      },
    };
  };

  describe('a run over some streams', () => {
    test('clears those it moved and no other', async () => {
      await using one = await world();
      await one.run({ a: fine, b: failed('host_unreachable') });
      expect((await one.verdict()).health).toBe('degraded');
      await one.run({ a: fine }, ['a']);
      expect(await one.verdict()).toMatchObject({
        health: 'degraded',
        reasons: [expect.stringContaining('left streams behind (b): host_unreachable')],
      });
      await one.run({ b: fine }, ['b']);
      expect(await one.verdict()).toMatchObject({ health: 'healthy', reasons: [] });
    });

    test('clears what it moved of a run that got nowhere', async () => {
      await using one = await world();
      await one.run({ status: 'failed', streams: [], error: down });
      expect((await one.verdict()).health).toBe('failing');
      await one.run({ b: fine }, ['b']);
      expect(await one.verdict()).toMatchObject({
        health: 'degraded',
        reasons: [expect.stringContaining('left streams behind (a): host_unreachable')],
      });
      await one.run({ a: fine }, ['a']);
      expect((await one.verdict()).health).toBe('healthy');
    });

    test('that failed is not undone by one over others', async () => {
      await using one = await world();
      await one.run({ a: fine, b: fine });
      await one.run({ a: failed('auth_failed') }, ['a']);
      expect((await one.verdict()).health).toBe('failing');
      await one.run({ b: fine }, ['b']);
      expect(await one.verdict()).toMatchObject({ health: 'degraded', error: { code: 'auth_failed' } });
      await one.run({ a: fine, b: fine });
      expect((await one.verdict()).health).toBe('healthy');
    });

    test('is not what an attempt of a full run is, though it moves only what failed before', async () => {
      await using one = await world();
      await one.run({ a: fine, b: fine }, undefined, [{ a: fine, b: failed('host_unreachable') }]);
      expect(await one.verdict()).toMatchObject({ health: 'healthy', reasons: [] });
    });

    test('leaves a stream behind only while the connector has it', async () => {
      await using one = await world();
      await one.run({ a: fine, b: failed('host_unreachable') });
      await one.store.connectors.update({ ...one.shop, streams: [a] });
      expect((await one.verdict()).health).toBe('healthy');
      await one.run({ a: fine }, ['a']);
      expect((await one.verdict()).health).toBe('healthy');
    });

    test('makes data fresh when nothing is behind any more, and as fresh as the run over all', async () => {
      await using one = await world({ schedule: '0 12 * * *' });
      const late = /its data are stale: a run was due at 2026-11-0(\d)T12/;
      await one.run({ a: fine, b: fine }); // on the 2nd, before noon
      one.clock.pass(8 * 60 * minutes);
      expect((await one.verdict()).reasons.join()).toMatch(late);
      await one.run({ a: fine }, ['a']);
      expect((await one.verdict()).reasons.join()).toMatch(late);
      await one.run({ a: fine, b: failed('host_unreachable') });
      expect((await one.verdict()).reasons.join()).toMatch(late);
      await one.run({ b: fine }, ['b']);
      expect((await one.verdict()).reasons).toEqual([]);
      one.clock.pass(24 * 60 * minutes);
      expect(late.exec((await one.verdict()).reasons.join())?.[1]).toBe('3');
      // Whoever names every stream has asked for all.
      await one.run({ a: fine, b: fine }, ['b', 'a']);
      expect((await one.verdict()).reasons).toEqual([]);
    });

    test('is remembered when the runs themselves have left the history', async () => {
      await using one = await world();
      await one.run({ a: fine, b: failed('host_unreachable') });
      for (let n = 0; n < 3; n += 1) await one.run({ a: fine }, ['a']);
      const rules = { olderThan: new Date(one.clock.now().getTime() + minutes), keepRuns: 1 };
      let at: string | null = 'shop';
      while (at !== null) ({ connector: at } = await one.store.runs.sweep(rules, at));
      expect((await one.verdict()).reasons.join()).toContain('left streams behind (b)');
    });
  });

  describe('a schedule promises from when it took effect', () => {
    const day = 24 * 60 * minutes;
    const daily = { schedule: '0 12 * * *' };
    const stale = (at: string): string => `its data are stale: a run was due at ${at}`;

    test.each<readonly [string, object, object]>([
      ['it was given', {}, daily],
      ['another was given', { schedule: '@hourly' }, daily],
      ['its connector was enabled again', { ...daily, enabled: false }, daily],
      ['its zone was changed', { ...daily, timezone: 'Asia/Tokyo' }, { ...daily, timezone: 'UTC' }],
    ])('%s long after the last success', async (_, before, after) => {
      await using one = await world(before);
      await one.run({ a: fine, b: fine });
      one.clock.pass(10 * day + (4 * 60 + 4) * minutes); // to five minutes past noon of the 12th
      const { schedule: _s, timezone: _t, ...plain } = one.shop;
      await one.store.connectors.update({ ...plain, enabled: true, ...after });
      expect(await one.verdict()).toMatchObject({ health: 'healthy', reasons: [] });
      one.clock.pass(day);
      expect((await one.verdict()).reasons).toEqual([]);
      one.clock.pass(6 * minutes);
      const [reason] = (await one.verdict()).reasons;
      expect(reason).toContain(stale('2026-11-13T12:00'));
      // What has nothing to do with it begins nothing anew.
      const { created_at: _c, updated_at: _u, ...kept } = await one.store.connectors.get('shop');
      await one.store.connectors.update({ ...kept, description: 'the web shop' });
      expect((await one.verdict()).reasons).toEqual([reason]);
    });

    test('also where nothing has succeeded yet, whatever else is changed', async () => {
      await using one = await world(daily);
      one.clock.pass(5 * 60 * minutes);
      await one.store.connectors.update({ ...one.shop, description: 'the web shop' });
      expect((await one.verdict()).reasons.join()).toContain(
        `${stale('2026-11-02T12:00:00.000Z')} and no run has succeeded yet`,
      );
    });

    test('also when it is planned anew because the zone of all was changed', async () => {
      await using one = await world(daily);
      const [entry] = await one.store.schedules.due(one.clock.now(), 9);
      if (entry === undefined) throw new Error('not there');
      const dueAt = new Date(now + 60 * minutes);
      const next = { spec: '0 12 * * *|Europe/Athens', dueAt, startAt: dueAt };
      await one.store.schedules.advance([{ entry, next, overlap: { kind: 'skip' } }]);
      one.clock.pass(5 * 60 * minutes);
      await one.store.schedules.replan('Europe/Athens');
      expect((await one.verdict()).health).toBe('degraded');
      await one.store.schedules.replan('UTC');
      expect((await one.verdict()).reasons).toEqual([]);
    });

    test('and no later than now when the clock was put back', async () => {
      await using one = await world(daily);
      one.clock.pass(-10 * day);
      await one.store.schedules.setBack({ now: one.clock.now(), retryMaxMs: minutes });
      one.clock.pass(5 * 60 * minutes);
      expect((await one.verdict()).reasons.join()).toContain(stale('2026-10-23T12:00:00.000Z'));
    });
  });
});
