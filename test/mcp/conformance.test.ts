import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ConformanceServer, startConformanceServer } from '../support/conformance/server.ts';
import { type Outcome, type Revision, runSuite } from '../support/conformance/suite.ts';

/**
 * The protocol's own conformance suite against the HTTP stack of `millrace serve`, both revisions as their requirements were
 * frozen: what they score, and what they run without counting it (tasks, header validation).
 */

/** How many scenarios a revision has, and how many checks succeed in them; fewer would be something that is no longer looked at. */
const expected: Readonly<Record<Revision, { readonly scenarios: number; readonly successes: number }>> = {
  '2026-07-28': { scenarios: 50, successes: 194 },
  '2025-11-25': { scenarios: 33, successes: 84 },
};

/** What the suite skips, and why that is right. */
const skipped: Readonly<Record<Revision, readonly string[]>> = {
  '2026-07-28': [
    // Millrace's prompts and tools change only with the program, and it does not say otherwise.
    'server-stateless: sep-2575-server-sends-prompts-list-changed-on-subscription',
    'server-stateless: sep-2575-server-sends-tools-list-changed-on-subscription',
    // The suite's own: "pending subscriptions/listen rewrite".
    'tasks-status-notifications: tasks-status-notifications',
  ],
  '2025-11-25': [],
};

const named = [
  'tasks-lifecycle',
  'tasks-capability-negotiation',
  'tasks-wire-fields',
  'tasks-request-state-removal',
  'tasks-mrtr-input',
  'tasks-request-headers',
  'tasks-dispatch-and-envelope',
  'tasks-status-notifications',
  'tasks-required-task-error',
  'tasks-mrtr-composition',
  'dns-rebinding-protection',
  'caching',
  'http-header-validation',
];

let server: ConformanceServer;
let outcomes: Readonly<Record<Revision, Outcome>>;

beforeAll(async () => {
  server = await startConformanceServer();
  // One after the other: the later set has waits of half a second, which a busy machine is not to use up.
  const legacy = await runSuite(server.url, '2025-11-25');
  const modern = await runSuite(server.url, '2026-07-28');
  outcomes = { '2025-11-25': legacy, '2026-07-28': modern };
}, 180_000);

afterAll(() => server?.[Symbol.asyncDispose]());

describe.each(['2026-07-28', '2025-11-25'] as const)('%s', (revision) => {
  test('no check fails or warns, and what the suite scores it calls passed', () => {
    const { exitCode, output } = outcomes[revision];
    expect(checksOf(revision, 'FAILURE', 'WARNING')).toEqual([]);
    expect(exitCode, output.slice(-3_000)).toBe(0);
  });

  test('every scenario ran, and every check in it', () => {
    const { scenarios } = outcomes[revision];
    const successes = checksOf(revision, 'SUCCESS').length;
    expect({ scenarios: scenarios.size, successes }).toEqual(expected[revision]);
    expect(checksOf(revision, 'SKIPPED')).toEqual(skipped[revision]);
  });
});

test('tasks, rebinding, caching and header validation are among them', () => {
  expect([...outcomes['2026-07-28'].scenarios.keys()]).toEqual(expect.arrayContaining(named));
});

/** One line for each check that ended so: where, which, and what was wrong. */
function checksOf(revision: Revision, ...statuses: readonly string[]): readonly string[] {
  return [...outcomes[revision].scenarios].flatMap(([scenario, checks]) =>
    checks
      .filter(({ status }) => statuses.includes(status))
      .map(({ id, status, errorMessage }) =>
        status === 'SKIPPED' || status === 'SUCCESS'
          ? `${scenario}: ${id}`
          : `${scenario}: ${id}: ${errorMessage}`,
      ),
  );
}
