import { type Breaker, stateOf } from '../core/breaker.ts';
import type { BreakerView } from './services.ts';

/** A breaker as the outside sees it; undefined when nothing failed since the last success. */
export function breakerView(breaker: Breaker | null | undefined, now: Date): BreakerView | undefined {
  if (breaker === null || breaker === undefined) return undefined;
  const { failures, open, error } = breaker;
  return {
    state: stateOf(breaker, now.getTime()),
    failures,
    ...(open === undefined ? {} : { open_until: new Date(open.until).toISOString() }),
    error,
  };
}

/** What a list of connectors says of it. */
export function shortly({ state, open_until }: BreakerView): Pick<BreakerView, 'state' | 'open_until'> {
  return { state, ...(open_until === undefined ? {} : { open_until }) };
}
