import { type Breaker, stateOf } from '../core/breaker.ts';
import type { BreakerView, Health } from './services.ts';

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

/**
 * Why the schedule does not start runs, or waits for a probe: a connector that is left in peace is failing, whatever
 * its newest run says, which may be one that somebody stopped.
 */
export function restOf(
  breaker: BreakerView | undefined,
): { readonly health: Health; readonly reason: string } | null {
  if (breaker === undefined || breaker.state === 'closed') return null;
  const { failures, error, open_until } = breaker;
  const why = `${failures === 1 ? 'a run' : `${failures} runs in a row`} failed (${error.code}: ${error.message})`;
  const rest =
    breaker.state === 'open'
      ? `no scheduled run starts until ${open_until}, or until test_connector passes`
      : 'the next scheduled run is the probe';
  return { health: 'failing', reason: `${why}; ${rest}` };
}
