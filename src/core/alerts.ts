/** When a change of health is told to people. */

import type { Health } from './health.ts';

/** What is remembered of one subject: a connector, or the installation. Times in milliseconds since 1970. */
export interface AlertState {
  readonly subject: string;
  /** The state that people know of. */
  readonly told: Health;
  /** The state at the last look, and since when every look has seen it. */
  readonly seen: Health;
  readonly since: number;
}

/** A change that people are to hear of. */
export interface Change {
  readonly subject: string;
  readonly from: Health;
  readonly to: Health;
  readonly since: number;
}

export interface Decision {
  /** What has to be remembered now; absent when it is as before. */
  readonly state?: AlertState;
  readonly change?: Change;
}

/**
 * A state is told when every look has seen it for `holdMs`, and at least two have: what comes and goes between two looks
 * is not news. Nor is a subject that is healthy when it is first seen, nor one that was switched off.
 */
export function decide(
  known: AlertState | undefined,
  look: { readonly subject: string; readonly health: Health; readonly at: number },
  holdMs: number,
): Decision {
  const { subject, health, at } = look;
  const before = known ?? { subject, told: 'unknown', seen: 'unknown', since: at };
  if (known === undefined || before.seen !== health || before.since > at)
    return { state: { ...before, seen: health, since: at } };
  if (before.told === health || at - before.since < holdMs) return {};
  const state = { ...before, told: health };
  if (health === 'unknown' || (before.told === 'unknown' && health === 'healthy')) return { state };
  return { state, change: { subject, from: before.told, to: health, since: before.since } };
}
