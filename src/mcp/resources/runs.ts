import type { ResourceLink } from '@modelcontextprotocol/server';
import type { LogLine, Run } from '../../core/model.ts';
import type { Services } from '../../services/services.ts';
import { type Cache, live, type ResourceKind, settled, uriOf } from './resource.ts';

const shown = 50;

export const runsResource: ResourceKind = {
  uri: 'millrace://runs',
  name: 'runs',
  title: 'Runs',
  description: 'The newest runs with status, counts and errors. Announces its changes to subscribers.',
  mimeType: 'application/json',
  rest: 'list_runs pages through all, by connector, status and time.',
  completes: {},
  async read(services) {
    const { items, next_cursor } = await services.runs.list({ limit: shown });
    return { data: { runs: items, has_more: next_cursor !== undefined }, cache: live };
  },
};

export const runResource: ResourceKind = {
  uri: 'millrace://runs/{run_id}',
  name: 'run',
  title: 'One run',
  description:
    'A run in full: each stream, counts, error, next actions. Announces its changes to subscribers.',
  mimeType: 'application/json',
  rest: 'get_run shows it without the log.',
  completes: { run_id: 'run' },
  async read(services, { run_id = '' }) {
    const run = await runOf(services, run_id);
    return { data: { run }, cache: cacheOf(run) };
  },
};

export const runLogResource: ResourceKind = {
  uri: 'millrace://runs/{run_id}/log',
  name: 'run-log',
  title: 'Log of a run',
  description: 'What happened when, a line each: time, level, words.',
  mimeType: 'text/plain',
  rest: 'get_run with include_log has the newest lines.',
  completes: { run_id: 'run' },
  async read(services, { run_id = '' }) {
    const run = await runOf(services, run_id);
    const lines = await services.runs.log(run_id);
    return { text: lines.map(lineOf).join('\n'), cache: cacheOf(run) };
  },
};

/** For answers about a run: its log can be long. */
export function runLogLinks(run_id: string): readonly ResourceLink[] {
  const { title, description, mimeType } = runLogResource;
  const uri = uriOf(runLogResource, { run_id });
  return [{ type: 'resource_link', uri, name: `run-log-${run_id}`, title, description, mimeType }];
}

async function runOf(services: Services, run_id: string): Promise<Run> {
  return await services.runs.get({ run_id }, { signal: new AbortController().signal });
}

function cacheOf(run: Run): Cache {
  return run.finished_at === undefined ? live : settled;
}

/** Lines that a message brings along are indented, so that none can pass for a line of the log. */
function lineOf({ at, level, message }: LogLine): string {
  return `${at} ${level.padEnd(5)} ${message.replaceAll(/\r?\n/g, '\n    ')}`;
}
