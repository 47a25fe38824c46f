import { MillraceError } from '../core/errors.ts';
import { connectorHealth, type Verdict } from '../core/health.ts';
import type { RejectCount } from '../destinations/warehouse.ts';
import type { StoredFacts } from '../store/store.ts';
import type { Context } from './context.ts';
import { createPromises } from './promises.ts';

/** How a connector is. */
export interface ConnectorVerdict extends Verdict {
  readonly name: string;
}

/** The health of connectors, from all that is known of them here. Asks no source. */
export interface Verdicts {
  /** Every connector, by name; other work goes on between one hundred and the next. */
  all(): AsyncIterable<ConnectorVerdict>;
  /** By name; one that does not exist is not there. */
  of(names: readonly string[]): Promise<ReadonlyMap<string, ConnectorVerdict>>;
}

const pageRows = 100;

/** Over the store's facts, the rejects of the warehouse and the promises of schedules. */
export function createVerdicts(
  context: Pick<Context, 'health' | 'warehouse' | 'settings' | 'now'>,
): Verdicts {
  const promisedAt = createPromises(context.settings.scheduler.timezone);

  /** None where they cannot be read: that is said of the whole, and all else is told nevertheless. */
  const rejectCounts = async (connector?: string): Promise<readonly RejectCount[]> => {
    try {
      return await context.warehouse.rejectCounts(connector);
    } catch (error) {
      if (error instanceof MillraceError) return [];
      throw error;
    }
  };

  const judged = (facts: StoredFacts, rejects: Rejects): ConnectorVerdict => {
    const promised = promisedAt(facts);
    const known = {
      ...facts,
      rejects: rejects.get(facts.connector) ?? [],
      ...(promised === null ? {} : { promisedAt: promised }),
    };
    return { name: facts.connector, ...connectorHealth(known, context.now().getTime()) };
  };

  return {
    async *all() {
      const rejects = byConnector(await rejectCounts());
      for (let after = ''; ; ) {
        const page = await context.health.page(after, pageRows);
        const last = page.at(-1);
        if (last === undefined) return;
        for (const facts of page) yield judged(facts, rejects);
        after = last.connector;
        await new Promise((settle) => setImmediate(settle));
      }
    },

    async of(names) {
      const counts = await Promise.all(names.map((name) => rejectCounts(name)));
      const rejects = byConnector(counts.flat());
      const found = await context.health.of(names);
      return new Map(found.map((facts) => [facts.connector, judged(facts, rejects)]));
    },
  };
}

type Rejects = ReadonlyMap<string, readonly { readonly stream: string; readonly rows: number }[]>;

function byConnector(counts: readonly RejectCount[]): Rejects {
  const rows = counts.map(({ kept, not_kept, ...of }) => ({ ...of, rows: kept + not_kept }));
  return Map.groupBy(rows, ({ connector }) => connector);
}
