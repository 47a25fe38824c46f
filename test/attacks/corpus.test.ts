import { expect, test } from 'vitest';
import { FORMS } from './addresses.ts';
import {
  hostileReferences,
  hostileRequests,
  hostileTexts,
  hostileTokens,
  hostileUris,
} from './door-cases.ts';
import { boundedQueries, refusedQueries } from './query-cases.ts';
import { hostileStreams } from './source-cases.ts';

/** How large the attack corpus is, kind by kind: what is taken out is missed here. */

const kinds: Readonly<Record<string, readonly [least: number, cases: readonly unknown[]]>> = {
  'queries that are refused': [115, refusedQueries.map(([, sql]) => sql)],
  'queries that are bounded': [40, boundedQueries.map(([, sql]) => sql)],
  'streams on PostgreSQL': [60, hostileStreams.postgresql],
  'streams on MySQL': [55, hostileStreams.mysql],
  'streams on MariaDB': [55, hostileStreams.mariadb],
  'addresses that are not reached': [80, FORMS],
  requests: [50, hostileRequests.map(([, ...request]) => request)],
  tokens: [24, hostileTokens.map(([, token]) => token)],
  'addresses of resources': [45, hostileUris],
  references: [42, hostileReferences],
  texts: [12, hostileTexts],
};

test.each(Object.entries(kinds))('%s: enough, and all different', (_kind, [least, cases]) => {
  expect(cases.length).toBeGreaterThanOrEqual(least);
  expect(new Set(cases.map((one) => JSON.stringify(one))).size).toBe(cases.length);
});

test('more than 550 in all', () => {
  expect(Object.values(kinds).flatMap(([, cases]) => cases).length).toBeGreaterThan(550);
});
