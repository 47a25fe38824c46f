import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ErrorCode, NextAction } from '../../src/core/errors.ts';
import type { LogLine, Run } from '../../src/core/model.ts';
import type { BreakerView, ConnectorDetail, HealthReport } from '../../src/services/services.ts';
import type { ChaosProxy } from '../support/chaos-proxy.ts';
import {
  type FailingSource,
  failingSource,
  type SourceKind,
  sourceKinds,
  THINGS,
  thingsBytes,
} from '../support/failing-sources.ts';
import {
  type MillraceProcess,
  runToEnd,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';

/**
 * What each type of connector makes of each way in which its source can fail, seen through the tools alone: the code, the
 * attempts and their times, the breaker, and that what the replies advise, done, mends it. All of it at once: nearly all
 * of the time is waiting for what does not answer.
 */

const RUNS = { concurrent: 8, attempts: 3, backoffMs: [60, 100] as const };
const BREAKER = { failures: 2, openMs: 600_000 };
/** How long connectors wait where waiting is in vain; elsewhere as long as they always do. */
const SILENCE_MS = 400;

interface Fault {
  readonly title: string;
  readonly code: Readonly<Record<SourceKind, ErrorCode>>;
  readonly attempts: number;
  /** Failed runs until the breaker opens. */
  readonly opensAfter: number;
  readonly breaks?: (proxy: ChaosProxy) => void | Promise<void>;
  readonly stream?: (source: FailingSource) => Readonly<Record<string, unknown>>;
  readonly config?: (source: FailingSource) => Readonly<Record<string, unknown>>;
  /** The change of the connector that the hint asks for; without one the network is healed. */
  readonly mend?: (source: FailingSource) => {
    readonly named: string;
    readonly config: Readonly<Record<string, unknown>>;
  };
}

const everywhere = (code: ErrorCode): Fault['code'] => ({
  postgresql: code,
  mysql: code,
  mariadb: code,
  rest_api: code,
});

const FAULTS: readonly Fault[] = [
  {
    title: 'refuses',
    code: everywhere('host_unreachable'),
    attempts: RUNS.attempts,
    opensAfter: BREAKER.failures,
    breaks: (proxy) => proxy.refuse(),
  },
  {
    title: 'takes the connection and stops answering',
    // A database speaks before anything is asked; of an API nobody knows before the first question.
    code: { ...everywhere('host_unreachable'), rest_api: 'timeout' },
    attempts: RUNS.attempts,
    opensAfter: BREAKER.failures,
    breaks: (proxy) => proxy.stall(),
    config: ({ patience }) => ({ [patience.connection]: SILENCE_MS }),
  },
  {
    title: 'needs longer than it may',
    code: everywhere('timeout'),
    attempts: RUNS.attempts,
    opensAfter: BREAKER.failures,
    stream: (source) => source.slow(SILENCE_MS * 4),
    config: ({ patience }) => ({ [patience.answer]: SILENCE_MS }),
    mend: ({ patience: { answer } }) => ({ named: answer, config: { [answer]: 30_000 } }),
  },
  {
    title: 'resets each connection in the middle of the rows',
    code: everywhere('connection_lost'),
    attempts: RUNS.attempts,
    opensAfter: BREAKER.failures,
    breaks: (proxy) => proxy.cutEach(thingsBytes / 5),
  },
  {
    title: 'refuses the login',
    code: everywhere('auth_failed'),
    attempts: 1,
    opensAfter: 1,
    config: ({ credentials }) => credentials.wrong,
    mend: ({ credentials }) => ({
      named: 'password|auth',
      config: credentials.right,
    }),
  },
];

const directory = temporaryDirectory();
const sources = new Map<SourceKind, FailingSource>();
let millrace: MillraceProcess;
/** Under way since the beginning. */
const stories = new Map<string, Promise<void>>();

beforeAll(async () => {
  await Promise.all(sourceKinds.map(async (kind) => sources.set(kind, await failingSource(kind))));
  millrace = await startMillrace({
    dataDir: directory.dataDir,
    config: { runs: RUNS, breaker: BREAKER, network: { allowPrivateHttp: ['127.0.0.1'] } },
  });
  for (const kind of sourceKinds) {
    for (const [index, fault] of FAULTS.entries())
      begin(`${kind} ${fault.title}`, () => failsAndIsMended({ kind, fault, name: `${kind}_${index}` }));
    begin(`${kind} half-open`, () => survivesHalfOpen(kind));
  }
}, 120_000);

afterAll(async () => {
  await Promise.allSettled(stories.values());
  await millrace?.kill();
  for (const source of sources.values()) await source[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
}, 120_000);

describe.each(sourceKinds)('%s', (kind) => {
  test.each(FAULTS)('$title', { timeout: 120_000 }, async ({ title }) => {
    await stories.get(`${kind} ${title}`);
  });

  test('a connection that is half-open in the middle of the rows: given up, and the run gets there by itself', {
    timeout: 120_000,
  }, async () => {
    await stories.get(`${kind} half-open`);
  });
});

function begin(title: string, story: () => Promise<void>): void {
  const work = story();
  work.catch(() => undefined); // its test hears of it
  stories.set(title, work);
}

interface Story {
  readonly kind: SourceKind;
  readonly fault: Fault;
  /** Of the connector. */
  readonly name: string;
}

async function failsAndIsMended({ kind, fault, name }: Story): Promise<void> {
  const source = sourceOf(kind);
  await using proxy = await source.proxy();
  const stream = fault.stream?.(source) ?? source.things;
  await millrace.must('register_connector', {
    name,
    type: source.type,
    config: { ...source.config(proxy), ...fault.config?.(source) },
    streams: [stream],
    test: false,
  });
  await fault.breaks?.(proxy);

  const runs: Run[] = [];
  while (runs.length < BREAKER.failures) {
    const run = await failedRun(name, fault, fault.code[kind]);
    runs.push(run);
    const breaker = await breakerOf(name);
    expect(breaker).toMatchObject({ failures: runs.length, error: { code: fault.code[kind] } });
    expect(breaker?.state).toBe(runs.length >= fault.opensAfter ? 'open' : 'closed');
    if (runs.length < fault.opensAfter) continue;
    // Each further refusal of a login doubles the rest.
    const restMs = BREAKER.openMs * (fault.opensAfter === 1 ? 2 ** (runs.length - 1) : 1);
    expect(breaker?.open_until).toBe(new Date(Date.parse(String(run.finished_at)) + restMs).toISOString());
  }
  await isSaidEverywhere(name, fault.code[kind], runs);
  await mend({ kind, fault, name }, { proxy, run: runs.at(-1) as Run });

  const replay = await adviceOfList(name);
  const done = await syncToEnd(millrace, replay.arguments);
  expect(done.status, JSON.stringify(done)).toBe('succeeded');
  expect(await breakerOf(name)).toBeUndefined();
  expect((await healthOf(name)).health).toBe('healthy');
  expect(await landed(`${name}__${stream['name']}`)).toBe(fault.stream === undefined ? THINGS : 1);
}

/** Starts a run and looks at what it said when it had ended. */
async function failedRun(connector: string, { attempts }: Fault, code: ErrorCode): Promise<Run> {
  const ended = await syncToEnd(millrace, { connector, wait_seconds: 0 });
  expect(ended, JSON.stringify(ended)).toMatchObject({
    status: 'failed',
    attempt: attempts,
    error: { code, retryable: attempts > 1, hint: expect.stringMatching(/.{20}/) },
  });
  const tools = (ended.next_actions ?? []).map(({ tool }) => tool);
  expect(tools).toContain('sync_connector');
  const log = await logOf(ended.run_id);
  attemptsAreOnTime(log, { attempts, code });
  expect(log.map(({ message }) => message)).toContainEqual(expect.stringContaining('sync_connector goes on'));
  return ended;
}

/** Each attempt but the last says when the next one is: within the backoff's bounds, and it begins then, not before. */
function attemptsAreOnTime(
  log: readonly LogLine[],
  { attempts, code }: { readonly attempts: number; readonly code: ErrorCode },
): void {
  const [first, most] = RUNS.backoffMs;
  for (let attempt = 1; attempt < attempts; attempt += 1) {
    const failed = log.find(({ message }) => message.startsWith(`attempt ${attempt} failed (${code})`));
    const next = log.find(({ message }) => message === `attempt ${attempt + 1}`);
    expect(failed, JSON.stringify(log)).toBeDefined();
    const retryAt = Date.parse(/starts at (\S+)$/.exec(failed?.message ?? '')?.[1] ?? '');
    const waitMs = retryAt - Date.parse(failed?.at ?? '');
    expect(waitMs, failed?.message).toBeLessThanOrEqual(Math.min(most, first * 2 ** (attempt - 1)));
    // The line is written a moment after the time was drawn, and a wait may be drawn that is no longer than that.
    expect(waitMs, failed?.message).toBeGreaterThan(-5_000);
    expect(Date.parse(next?.at ?? '')).toBeGreaterThanOrEqual(retryAt);
  }
  expect(log.some(({ message }) => message === `attempt ${attempts + 1}`)).toBe(false);
}

/** Whoever looks from anywhere sees that the connector rests, until when and why, and the dead letters. */
async function isSaidEverywhere(name: string, code: ErrorCode, runs: readonly Run[]): Promise<void> {
  const until = (await breakerOf(name))?.open_until;
  const health = await healthOf(name);
  expect(health).toMatchObject({ health: 'failing', error: { code } });
  expect(health.reason).toContain(`no scheduled run starts until ${until}`);
  const { connectors } = await millrace.must<{ connectors: { name: string }[] }>('list_connectors');
  const listed = connectors.find((one) => one.name === name);
  expect(listed).toMatchObject({ health: 'failing', breaker: { state: 'open', open_until: until } });
  const letters = await deadLetters(name);
  expect(letters.map(({ run_id }) => run_id)).toEqual(runs.map(({ run_id }) => run_id).reverse());
  for (const letter of letters) expect(letter.error).toMatchObject({ code, hint: expect.any(String) });
  const last = (await logOf(String(runs.at(-1)?.run_id))).at(-1)?.message;
  expect(last).toContain(`no scheduled run starts until ${until}`);
}

/** Does what the error's hint asks for; where that is outside of Millrace, what get_connector advises sees that it is done. */
async function mend(
  { kind, fault, name }: Story,
  { proxy, run }: { readonly proxy: ChaosProxy; readonly run: Run },
): Promise<void> {
  const change = fault.mend?.(sourceOf(kind));
  if (change !== undefined) {
    expect(run.error?.hint).toMatch(new RegExp(change.named));
    await millrace.must('update_connector', { connector: name, config: change.config });
    // Who changes a connector is not made to wait for its rest.
    expect(await breakerOf(name)).toBeUndefined();
    return;
  }
  await proxy.heal();
  // Of get_health's calls only the first twenty are shown, and here more than twenty connectors fail at once.
  const { next_actions } = await millrace.must<ConnectorDetail>('get_connector', { connector: name });
  const advice = next_actions?.find((action) => action.arguments['connector'] === name);
  expect(advice?.tool).toBe('test_connector');
  const report = await untilPassed(String(advice?.tool), advice?.arguments ?? {});
  expect(report.warnings.join()).toContain('sync_connector starts one at once');
  expect((await breakerOf(name))?.state).toBe('half_open');
  if (fault.config === undefined) return;
  // The run that is to come has to come, on any machine.
  const { patience } = sourceOf(kind);
  await millrace.must('update_connector', { connector: name, config: { [patience.connection]: 30_000 } });
}

/** On a machine that is busy with all the others an answer may come after so little patience once or twice. */
async function untilPassed(
  tool: string,
  input: Readonly<Record<string, unknown>>,
): Promise<{ readonly warnings: readonly string[] }> {
  for (let turn = 0; ; turn += 1) {
    const report = await millrace.must<{ ok: boolean; warnings: string[] }>(tool, input);
    if (report.ok) return report;
    if (turn === 20) throw new Error(`it does not pass: ${JSON.stringify(report)}`);
  }
}

async function survivesHalfOpen(kind: SourceKind): Promise<void> {
  const source = sourceOf(kind);
  await using proxy = await source.proxy();
  const name = `${kind}_half`;
  await millrace.must('register_connector', {
    name,
    type: source.type,
    config: { ...source.config(proxy), [source.patience.answer]: SILENCE_MS * 3 },
    streams: [source.things],
    test: false,
  });
  proxy.halfOpenAfter(thingsBytes / 5);
  const run = await syncToEnd(millrace, { connector: name });
  expect(run.status, JSON.stringify(run)).toBe('succeeded');
  expect(await landed(`${name}__things`)).toBe(THINGS);
  expect(await breakerOf(name)).toBeUndefined();
  const again = (await logOf(run.run_id)).filter(({ message }) => message.includes('failed (timeout)'));
  // An API's request is asked again inside the attempt.
  expect(again.length).toBe(kind === 'rest_api' ? 0 : 1);
  expect(proxy.accepted()).toBeGreaterThan(1);
}

function sourceOf(kind: SourceKind): FailingSource {
  const source = sources.get(kind);
  if (source === undefined) throw new Error(`no source of kind ${kind}`);
  return source;
}

async function breakerOf(connector: string): Promise<BreakerView | undefined> {
  return (await millrace.must<{ breaker?: BreakerView }>('get_connector', { connector })).breaker;
}

async function healthOf(name: string): Promise<HealthReport['connectors'][number]> {
  const { connectors } = await millrace.must<HealthReport>('get_health');
  const found = connectors.find((one) => one.name === name);
  if (found === undefined) throw new Error(`get_health does not know ${name}`);
  return found;
}

async function deadLetters(connector: string): Promise<readonly Run[]> {
  return (await millrace.must<{ runs: Run[] }>('list_runs', { connector, status: 'failed' })).runs;
}

/** The call that the newest dead letter says does it again. */
async function adviceOfList(connector: string): Promise<NextAction> {
  const [letter] = await deadLetters(connector);
  const replay = letter?.next_actions?.find(({ tool }) => tool === 'sync_connector');
  if (replay === undefined) throw new Error(`no way to replay ${JSON.stringify(letter)}`);
  return replay;
}

async function logOf(runId: string): Promise<readonly LogLine[]> {
  await runToEnd(millrace, runId);
  const { run } = await millrace.must<{ run: Run }>('get_run', { run_id: runId, include_log: true });
  return run.log ?? [];
}

async function landed(table: string): Promise<number> {
  const { rows } = await millrace.must<{ rows: number[][] }>('query_data', {
    sql: `SELECT count(*) FROM ${table}`,
  });
  return Number(rows[0]?.[0]);
}
