import { connectorTypes, findConnectorType } from '../connectors/index.ts';
import { asMillraceError, MillraceError, type NextAction } from '../core/errors.ts';
import type { CheckReport, Connector } from '../core/model.ts';
import { earlierStream, registerSchema, updateSchema } from '../core/schema.ts';
import { validate } from '../core/validate.ts';
import { askForSecrets, assertAsksNothing } from './ask-person.ts';
import { breakerView, shortly } from './breakers.ts';
import { checkConnector, unanswered } from './checks.ts';
import {
  assertStreamNames,
  changeConnector,
  connectorOf,
  isRescheduled,
  wholly,
} from './connector-changes.ts';
import { assertMay, type Context, shownConnector } from './context.ts';
import { createDeletions } from './deletions.ts';
import { difference } from './difference.ts';
import { assertStreamsFit } from './fit.ts';
import { guideViews } from './guides/index.ts';
import { assertSchedule, nextRunAt, scheduleView, scheduleWarnings } from './schedule.ts';
import type { Caller, ConnectorDetail, ConnectorService } from './services.ts';
import { typeViews } from './types.ts';
import type { ConnectorVerdict, Verdicts } from './verdicts.ts';

/** Registering, changing, looking at and deleting connectors. */
export function createConnectorService(context: Context, verdicts: Verdicts): ConnectorService {
  const { connectors, runs, warehouse } = context;
  const deletions = createDeletions(context);

  const test = async (name: string, signal: AbortSignal): Promise<CheckReport> => {
    const { report, restEnded } = await checkConnector(context, name, { signal });
    return restEnded ? { ...report, warnings: [...report.warnings, afterRest] } : report;
  };

  /** Of what is kept whatever it says: a test that could not be made, for want of a secret say, is one that failed. */
  const testKept = async (name: string, signal: AbortSignal): Promise<CheckReport> => {
    try {
      return await test(name, signal);
    } catch (error) {
      if (error instanceof MillraceError && error.code !== 'cancelled') return unanswered(error);
      throw error;
    }
  };

  const service: ConnectorService = {
    types: typeViews,
    guides: guideViews,

    async register(input, caller, signal) {
      assertMay(context, caller, 'admin');
      const { test: wanted, ...given } = validate(registerSchema, input, 'The connector');
      const type = findConnectorType(given.type);
      const earlier = earlierStream(given);
      const streams = earlier === null ? given.streams : [...given.streams, earlier];
      assertStreamNames(streams);
      assertStreamsFit(type, streams);
      assertSchedule(context, given);
      await assertFree(context, given.name);
      validate(type.config, given.config, `The ${type.type} config`);
      const sealed = await context.secrets.seal(given.name, given.config, type.secrets);
      const record = await connectors.insert(
        connectorOf({ ...given, config: sealed.config, streams }),
        sealed.sealed,
      );
      await context.audit.append({
        actor: caller.actor,
        action: 'register_connector',
        subject: record.name,
        detail: { type: record.type, streams: streams.map((stream) => stream.name) },
      });
      const asking = await askForSecrets(context, record, sealed.asked);
      const report = wanted && asking === null ? await testKept(record.name, signal) : undefined;
      return {
        connector: shownConnector(context, record),
        ...(report === undefined ? {} : { test: report }),
        ...(asking === null ? {} : { ask: asking.ask }),
        warnings: [
          ...sealed.warnings,
          ...(await scheduleWarnings(context, record)),
          ...(asking?.warnings ?? []),
        ],
        next_actions: asking?.nextActions ?? afterRegistering(record, report),
      };
    },

    async list(filter) {
      const { limit, cursor, ...rest } = filter;
      const page = await connectors.list(rest, {
        limit: limit ?? 50,
        ...(cursor === undefined ? {} : { cursor }),
      });
      const breakers = await context.breakers.all();
      const health = await verdicts.of(page.items.map(({ name }) => name));
      const items = [];
      for (const record of page.items) {
        const breaker = breakerView(breakers.get(record.name), context.now());
        const last = await runs.latest(record.name);
        const next = nextRunAt(context, record);
        items.push({
          name: record.name,
          type: record.type,
          enabled: record.enabled,
          health: health.get(record.name)?.health ?? 'unknown',
          ...(breaker === undefined ? {} : { breaker: shortly(breaker) }),
          ...(last === null
            ? {}
            : {
                last_run: {
                  run_id: last.run_id,
                  status: last.status,
                  ...(last.finished_at === undefined ? {} : { finished_at: last.finished_at }),
                },
              }),
          ...(next === null ? {} : { next_run_at: next.toISOString() }),
          streams: record.streams.map((stream) => stream.name),
        });
      }
      return { items, ...(page.next_cursor === undefined ? {} : { next_cursor: page.next_cursor }) };
    },

    names: () => connectors.names(),

    async get(name) {
      const record = await connectors.get(name);
      const recent = (await runs.list({ connector: name }, { limit: 5 })).items;
      const breaker = breakerView(await context.breakers.get(name), context.now());
      const type = connectorTypes.find((candidate) => candidate.type === record.type);
      const state = warehouse.states(name).map((one) => ({
        ...one,
        cursor: one.cursor === null ? null : (type?.showCursor(one.cursor) ?? null),
      }));
      return {
        connector: shownConnector(context, record),
        state,
        ...(record.schedule === undefined ? {} : { schedule: await scheduleView(context, record) }),
        ...healthFields((await verdicts.of([name])).get(name)),
        ...(breaker === undefined ? {} : { breaker }),
        recent_runs: recent,
      };
    },

    async update(input, caller, signal) {
      assertMay(context, caller, 'admin');
      const change = validate(updateSchema, input, 'The change');
      const { before, record, changes, sealed, moved } = await changeConnector(context, change);
      if (record === null)
        return { connector: shownConnector(context, before), changes, warnings: sealed.warnings };
      await context.audit.append({
        actor: caller.actor,
        action: 'update_connector',
        subject: record.name,
        detail: { changes, ...difference(shownConnector(context, before), shownConnector(context, record)) },
      });
      const asking = await askForSecrets(context, record, sealed.asked);
      const warnings = [
        ...moved,
        ...sealed.warnings,
        ...(isRescheduled(change) ? await scheduleWarnings(context, record) : []),
        ...(asking?.warnings ?? []),
      ];
      if (asking === null && changes.some((sentence) => sentence.startsWith('config.'))) {
        const { error } = await testKept(record.name, signal);
        if (error !== undefined)
          warnings.push(`The test with the new config failed: ${error.code} ${error.message}`);
      }
      return {
        connector: shownConnector(context, record),
        changes,
        ...(asking === null ? {} : { ask: asking.ask }),
        warnings,
      };
    },

    delete: (input, caller) => deletions.delete(input, caller),
    test,

    async apply(inputs, caller) {
      const refused: MillraceError[] = [];
      for (const input of inputs) {
        try {
          await applyOne(input, caller);
        } catch (error) {
          // One that is wrong is no reason to leave the others as they were.
          refused.push(asMillraceError(error));
        }
      }
      const [first, ...others] = refused;
      if (first !== undefined) throw others.length === 0 ? first : severalRefused(first, refused);
    },
  };

  const applyOne = async (input: unknown, caller: Caller): Promise<void> => {
    const { test: _test, ...given } = validate(registerSchema, input, 'A connector of the config file');
    assertAsksNothing(given);
    const signal = new AbortController().signal;
    if (!(await connectors.names()).includes(given.name)) {
      try {
        await service.register({ ...given, test: false }, caller, signal);
        return;
      } catch (error) {
        // Two processes that start at once both find it missing.
        if (!(error instanceof MillraceError && error.code === 'connector_exists')) throw error;
      }
    }
    await service.update(wholly(given, await connectors.get(given.name)), caller, signal);
  };

  return service;
}

function severalRefused(first: MillraceError, all: readonly MillraceError[]): MillraceError {
  return new MillraceError(
    first.code,
    `${all.length} connectors of the config file were refused. ${all.map(({ message }) => message).join(' ')}`,
    { hint: all.map(({ hint }) => hint).join(' '), cause: first },
  );
}

function healthFields(
  verdict: ConnectorVerdict | undefined,
): Pick<ConnectorDetail, 'health' | 'health_reasons' | 'next_actions'> {
  const { health, reasons, next_actions } = verdict ?? { health: 'unknown', reasons: [], next_actions: [] };
  return {
    health,
    ...(reasons.length === 0 ? {} : { health_reasons: reasons }),
    ...(next_actions.length === 0 ? {} : { next_actions }),
  };
}

const afterRest =
  'After its failures no scheduled run was started; now that the test passes, the next one is. sync_connector starts one at once.';

async function assertFree(context: Context, name: string): Promise<void> {
  if (!(await context.connectors.names()).includes(name)) return;
  throw new MillraceError('connector_exists', `A connector named "${name}" is already registered.`, {
    hint: 'Choose another name, or change the one there is with update_connector.',
    nextActions: [
      {
        tool: 'get_connector',
        arguments: { connector: name },
        why: 'shows what is registered under that name',
      },
    ],
  });
}

function afterRegistering(connector: Connector, report: CheckReport | undefined): readonly NextAction[] {
  if (report !== undefined && !report.ok) {
    const own = report.error?.next_actions ?? [];
    return [
      ...own,
      {
        tool: 'update_connector',
        arguments: { connector: connector.name, config: {} },
        why: 'mends the fields that the test found wrong',
      },
    ];
  }
  if (connector.streams.length > 0)
    return [
      { tool: 'sync_connector', arguments: { connector: connector.name }, why: 'brings the rows here' },
    ];
  const { type } = connector;
  const isMute =
    (findConnectorType(type).streamsBy?.includes('path') ?? false) && !('openapi' in connector.config);
  if (isMute)
    return [
      {
        tool: 'list_connector_types',
        arguments: { type },
        why: 'has examples of streams by path; look at one with preview_stream, add it with update_connector',
      },
    ];
  return [
    {
      tool: 'discover_streams',
      arguments: { connector: connector.name },
      why: 'shows what there is, with suggested streams',
    },
  ];
}
