import type { Services } from '../services/services.ts';

/** What an argument of a prompt or a place of an address can be filled with. */
export type Completes = 'connector' | 'stream' | 'run' | 'topic' | 'type' | 'table';

const runsLooked = 200;

/** What else was filled in already: streams are those of the connector, runs too. */
type Filled = Readonly<Record<string, string>>;

/** The names there are for each. */
export const candidates: Readonly<
  Record<Completes, (services: Services, filled: Filled) => Promise<readonly string[]>>
> = {
  connector: (services) => services.connectors.names(),
  async stream(services, { connector }) {
    if (connector === undefined) return [];
    // A connector that is not there has no streams; that it is not there is said when it is used.
    const detail = await services.connectors.get(connector).catch(() => undefined);
    return detail?.connector.streams.map(({ name }) => name) ?? [];
  },
  async run(services, { connector }) {
    const filter = connector === undefined ? {} : { connector };
    return (await services.runs.list({ ...filter, limit: runsLooked })).items.map(({ run_id }) => run_id);
  },
  topic: async (services) => services.connectors.guides().map(({ topic }) => topic),
  type: async (services) => services.connectors.types().map(({ type }) => type),
  table: async (services) => (await services.data.describe()).map(({ table }) => table),
};
